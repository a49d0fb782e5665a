"""What `cmake --install` leaves is enough for an application: a C program is built from it twice, by CMake's
find_package(dsv3) and by pkg-config where that is installed, and run."""

import os
import shutil
import sys
import tempfile

import house

PROGRAM = """#include <dsv3.h>
int main(void) { return dsv3_status_name(DSV3_OK) == 0; }
"""
PROJECT = """cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES C)
find_package(dsv3 0.1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE dsv3::dsv3)
"""


def step(findings, name, *command):
    status, output = house.run(*command)
    if status != 0:
        findings.append(f"{name} failed ({status}): {' '.join(command)}\n{output}")
    return status == 0


def by_cmake(findings, folder, prefix, cmake, generator):
    build = os.path.join(folder, "build")
    if step(findings, "find_package", cmake, "-G", generator, "-S", folder, "-B", build,
            f"-DCMAKE_PREFIX_PATH={prefix}") and \
            step(findings, "build by CMake", cmake, "--build", build):
        step(findings, "program built by CMake", os.path.join(build, "consumer"))


def by_pkg_config(findings, folder, prefix):
    pc_files = [os.path.join(f, n) for f, _, names in os.walk(prefix) for n in names if n == "dsv3.pc"]
    if len(pc_files) != 1:
        findings.append(f"dsv3.pc: found {len(pc_files)} installed, wanted 1")
        return
    status, flags = house.run("pkg-config", "--cflags", "--libs", pc_files[0])
    if status != 0:
        findings.append(f"pkg-config {pc_files[0]} failed:\n{flags}")
        return
    program = os.path.join(folder, "by_pkg_config")
    library_folder = os.path.dirname(os.path.dirname(pc_files[0]))
    if step(findings, "build by pkg-config", "gcc", os.path.join(folder, "consumer.c"), "-o", program,
            f"-Wl,-rpath,{library_folder}", *flags.split()):
        step(findings, "program built by pkg-config", program)


def check(build, cmake, generator):
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "prefix")
        for name, text in (("consumer.c", PROGRAM), ("CMakeLists.txt", PROJECT)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        if step(findings, "install", cmake, "--install", build, "--prefix", prefix):
            by_cmake(findings, folder, prefix, cmake, generator)
            if shutil.which("pkg-config"):
                by_pkg_config(findings, folder, prefix)
    return findings


if __name__ == "__main__":
    house.report("installed package", check(sys.argv[1], sys.argv[2], sys.argv[3]))
