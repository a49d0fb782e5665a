"""The public headers compile alone, without warnings, in every language level they promise, with gcc and with clang
where it is installed; and dsv3.h states the version that the build states."""

import os
import re
import shutil
import sys

import house

C_LEVELS = ("c99", "c11", "c17")
CXX_LEVELS = ("c++11", "c++14", "c++17", "c++20")
WRAPPER_LEVELS = ("c++17", "c++20")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror", "-Wno-pragma-once-outside-header")


def compile_alone(compiler, language, level, header):
    status, output = house.run(compiler, "-x", language, f"-std={level}", *WARNINGS,
                               "-fsyntax-only", "-I", os.path.dirname(header), header)
    if status != 0:
        return [f"{os.path.basename(header)}: {compiler} -std={level} refuses it:\n{output}"]
    return []


def check_version(header, version):
    with open(header, encoding="utf-8") as file:
        text = file.read()
    found = []
    for part in ("MAJOR", "MINOR", "PATCH"):
        value = re.search(rf"#define\s+DSV3_VERSION_{part}\s+(\d+)", text)
        found.append(value.group(1) if value else "?")
    stated = ".".join(found)
    if stated != version:
        return [f"dsv3.h: DSV3_VERSION_* say {stated}, CMakeLists.txt says {version}"]
    return []


def check(root, version):
    header = os.path.join(root, "include", "dsv3.h")
    wrapper = os.path.join(root, "include", "dsv3.hpp")
    if not os.path.isfile(header):
        return ["include/dsv3.h: missing"]
    findings = check_version(header, version)
    c_compilers = [c for c in ("gcc", "clang") if shutil.which(c)]
    cxx_compilers = [c for c in ("g++", "clang++") if shutil.which(c)]
    if not c_compilers or not cxx_compilers:
        return findings + ["no C or no C++ compiler found: tried gcc, clang, g++, clang++"]
    for compiler in c_compilers:
        for level in C_LEVELS:
            findings += compile_alone(compiler, "c", level, header)
    for compiler in cxx_compilers:
        for level in CXX_LEVELS:
            findings += compile_alone(compiler, "c++", level, header)
        for level in WRAPPER_LEVELS if os.path.isfile(wrapper) else ():
            findings += compile_alone(compiler, "c++", level, wrapper)
    print("compilers tried:", ", ".join(c_compilers + cxx_compilers))
    return findings


if __name__ == "__main__":
    house.report("public headers", check(sys.argv[1], sys.argv[2]))
