"""No processor executes what it lacks: foreign_processors.py <api_cpu_levels>.

The program (tests/api/cpu_levels.c) loads the sample model and generates on processors played by qemu-x86_64 and by
valgrind. It must choose the level wanted, refuse those above by name, and end well: whoever plays a processor stops at an
instruction that it lacks, which is tried first. Skipped without qemu-x86_64 7.2 (the first that plays AVX2)."""

import re
import shutil
import signal
import sys

import house

SKIPPED = 77
QEMU_WANTED = (7, 2)
LEVELS = ("scalar", "avx2", "avx512-bf16")
# The second has AVX alone; the last two lack one of the three sets that level avx2 takes.
QEMU_PROCESSORS = {
    "Nehalem": "scalar", "SandyBridge": "scalar", "Haswell": "avx2", "Haswell,-fma": "scalar", "Haswell,-f16c": "scalar",
}


def qemu_missing():
    """Why qemu cannot be used here, or nothing."""
    if shutil.which("qemu-x86_64") is None:
        return "qemu-x86_64 is not installed (package qemu-user; ./dev packages all)"
    _, output = house.run("qemu-x86_64", "--version")
    found = re.search(r"version (\d+)\.(\d+)", output)
    if found is None or tuple(map(int, found.groups())) < QEMU_WANTED:
        return f"qemu-x86_64 is too old, wanted 7.2: {output.splitlines()[:1]}"
    return None


def processors(program):
    """(name, command that plays it, level wanted) of each processor."""
    out = [(f"qemu {name}", ("qemu-x86_64", "-cpu", name), level) for name, level in QEMU_PROCESSORS.items()]
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: left out")
        return out
    # It passes on what the real processor has, as far as AVX2.
    _, native = house.run(program)
    level = "scalar" if "cpu scalar" in native else "avx2"
    return out + [("valgrind", ("valgrind", "--tool=none", "-q"), level)]


def check(program, name, player, wanted):
    findings = []
    for level in LEVELS[LEVELS.index(wanted) + 1:]:
        status, _ = house.run(*player, program, "execute", level)
        if status != -signal.SIGILL:
            findings.append(f"{name}: ended with {status} on instructions of {level}, wanted SIGILL")
    status, output = house.run(*player, program, wanted)
    if status != 0 or f"cpu {wanted}\n" not in output:
        findings.append(f"{name}: ended with {status}, wanted 0 and level {wanted}:\n{output}")
    print(f"{name}: {wanted}")
    return findings


def main(program):
    reason = qemu_missing()
    if reason is not None:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    findings = []
    for name, player, wanted in processors(program):
        findings += check(program, name, player, wanted)
    house.report("foreign processors", findings)


if __name__ == "__main__":
    main(sys.argv[1])
