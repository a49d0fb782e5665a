"""Growth: no source over 600 lines (tables that a committed script wrote say so in their first three lines), no line over 160."""

import sys

import house

LINES_MAX = 600
# The public header is the manual: half of it is text, and it is one file by promise.
LINES_MAX_OF = {"include/dsv3.h": 1200}
COLUMNS_MAX = 160


def check(root):
    findings = []
    for name in house.project_files(root):
        if not (name.endswith(house.CODE_SUFFIXES) or name in ("dev", ".ci/run")):
            continue
        lines = (house.read_text(root, name) or "").split("\n")
        if any("enerated by tools/" in line for line in lines[:3]):
            continue
        lines_max = LINES_MAX_OF.get(name, LINES_MAX)
        if len(lines) - 1 > lines_max:
            findings.append(f"{name}: {len(lines) - 1} lines, wanted at most {lines_max}")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                findings.append(f"{name}:{number}: {len(line)} columns, wanted at most {COLUMNS_MAX}")
    return findings


if __name__ == "__main__":
    house.report("source sizes", check(sys.argv[1]))
