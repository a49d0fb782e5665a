"""libdsv3.so exports dsv3_* and nothing else: the functions that dsv3.h declares, which are the committed list
symbols.txt; and it needs the C library alone. `--update` as third argument rewrites the list after a wanted change."""

import os
import re
import sys

import house

VERSION_NODE = "DSV3_1"
NEEDED = re.compile(r"^(?:libc\.so|libm\.so|libpthread\.so|ld-linux)")
DECLARATION = re.compile(r"\b(dsv3_[a-z0-9_]+)\s*\((?!\s*\*)")


def declared_names(header_text):
    """Functions declared in the header; callback types `(*name)` and names in comments do not count."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header_text, flags=re.DOTALL)
    text = re.sub(r"\btypedef\b[^;{]*;", " ", text)
    return set(DECLARATION.findall(text))


def check_names(exported, listed, declared):
    findings = [f"{n}: exported, wanted only dsv3_*" for n in sorted(exported) if not n.startswith("dsv3_")]
    ours = {n for n in exported if n.startswith("dsv3_")}
    findings += [f"{n}: exported, but not in symbols.txt (new? run with --update)" for n in sorted(ours - listed)]
    findings += [f"{n}: in symbols.txt, but no longer exported: this breaks the ABI" for n in sorted(listed - ours)]
    findings += [f"{n}: exported, but dsv3.h does not declare it" for n in sorted(ours - declared)]
    findings += [f"{n}: declared in dsv3.h, but not exported" for n in sorted(declared - ours)]
    return findings


def exported_names(library):
    status, output = house.run("nm", "-D", "--defined-only", library)
    if status != 0:
        sys.exit(f"nm -D {library} failed:\n{output}")
    names = {line.split()[-1].split("@")[0] for line in output.splitlines() if line.strip()}
    return names - {VERSION_NODE}


def needed_libraries(library):
    status, output = house.run("readelf", "-d", "-W", library)
    if status != 0:
        sys.exit(f"readelf -d {library} failed:\n{output}")
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output)


def main(root, library, update):
    list_path = os.path.join(root, "tests", "house", "symbols.txt")
    exported = exported_names(library)
    if update:
        with open(list_path, "w", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in sorted(exported))
    listed = set((house.read_text(root, "tests/house/symbols.txt") or "").split())
    header = house.read_text(root, "include/dsv3.h") or ""
    findings = check_names(exported, listed, declared_names(header))
    findings += [f"{n}: needed by libdsv3.so, wanted the C library alone"
                 for n in needed_libraries(library) if not NEEDED.match(n)]
    house.report(f"exported symbols ({len(exported)})", findings)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--update" in sys.argv[3:])
