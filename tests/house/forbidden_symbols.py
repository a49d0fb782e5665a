"""A guest in the process: our objects (not the C++ runtime linked beside them) call nothing that ends the process,
prints, forks, installs handlers or reads the environment, and they hold no writable global data.
Exceptions stand in symbols_allowed.txt, one a line: object file or *, symbol, reason."""

import os
import re
import sys

import house

FORBIDDEN = re.compile("^(?:" + "|".join((
    r"abort|exit|_exit|_Exit|quick_exit|atexit|at_quick_exit|on_exit|__assert_fail|raise|kill",
    r"signal|sigaction|sigprocmask|sigaltstack|bsd_signal|pthread_atfork|__register_atfork",
    r"fork|vfork|clone|exec[lv]\w*|posix_spawnp?|system|popen",
    r"(?:__)?v?f?printf(?:_chk)?|puts|fputs|putchar|putc|fputc|perror|stdout|stderr|stdin",
    r"getenv|secure_getenv|setenv|putenv|unsetenv|clearenv|environ|__environ",
    r"s?rand|s?random|rand_r|drand48|setlocale|chdir|umask|setrlimit",
    r"_ZSt4cout|_ZSt4cerr|_ZSt4clog|_ZSt3cin|_ZNSt8ios_base4InitC1Ev",
    r"_ZNSt6locale6globalERKS_|_ZSt13set_terminatePFvvE|_ZSt15set_new_handlerPFvvE",
)) + ")$")
WRITABLE_SECTIONS = re.compile(r"^\.(?:data|bss|tdata|tbss)(?!\.rel\.ro)")
# What nvcc writes into the host side of a .cu, whatever the source says: registration of kernels at load and its end at
# exit, launch stubs, and bodies of device functions that would exit if the host could call them.
OF_NVCC = re.compile(r"^(?:exit|atexit)$|__cudaFatCubinHandle|__device_stub__")
# objdump -t: value, seven flag columns, section, tab, size, name
SYMBOL_LINE = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\t([0-9a-f]+)\s+(.*)$")


def parse_allowed(text):
    """{(object, symbol)} of the lines that give a reason."""
    allowed = set()
    for line in text.splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3 and not line.startswith("#"):
            allowed.add((parts[0], parts[1]))
    return allowed


def undefined_calls(nm_output):
    """(object, symbol) for each forbidden symbol that an object of the archive wants from outside."""
    found, member = [], "?"
    for line in nm_output.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        parts = line.split()
        if len(parts) == 2 and parts[0] in "Uuw" and FORBIDDEN.match(parts[1]):
            found.append((member, parts[1]))
    return found


def writable_data(objdump_output):
    """(object, symbol, section, bytes) for each object in a section that can be written at run time."""
    found, member = [], "?"
    for line in objdump_output.splitlines():
        head = re.match(r"^(\S+):\s+file format", line)
        if head:
            member = head.group(1)
        row = SYMBOL_LINE.match(line)
        if not row or "d" in row.group(1) or not WRITABLE_SECTIONS.match(row.group(2)):
            continue
        name = row.group(4).replace(".hidden ", "").strip()
        if int(row.group(3), 16) > 0 and not name.startswith("DW.ref."):
            found.append((member, name, row.group(2), int(row.group(3), 16)))
    return found


def check(nm_output, objdump_output, allowed):
    findings, used = [], set()
    members = {line[:-1] for line in nm_output.splitlines() if line.endswith(":")} | {"*"}

    def judge(member, symbol, text):
        if member.endswith(".cu.o") and OF_NVCC.search(symbol):
            return
        entries = {(member, symbol), ("*", symbol)} & allowed
        used.update(entries)
        if not entries:
            findings.append(f"{member}: {text}")

    for member, symbol in undefined_calls(nm_output):
        judge(member, symbol, f"calls {symbol}, wanted not at all")
    for member, symbol, section, size in writable_data(objdump_output):
        judge(member, symbol, f"{symbol} is {size} bytes of writable global data in {section}")
    findings += [f"symbols_allowed.txt: {m} {s} is not needed any more" for m, s in sorted(allowed - used)
                 if m in members]
    return findings


def main(root, archive):
    nm_status, names = house.run("nm", archive)
    dump_status, table = house.run("objdump", "-t", archive)
    if nm_status != 0 or dump_status != 0:
        sys.exit(f"nm or objdump cannot read {archive}:\n{names[:400]}")
    allowed_path = os.path.join("tests", "house", "symbols_allowed.txt")
    allowed = parse_allowed(house.read_text(root, allowed_path) or "")
    house.report("forbidden symbols", check(names, table, allowed))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
