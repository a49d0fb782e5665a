"""The program in README.md is samples/stream.c, to the letter, and short enough to be read there."""

import sys

import house

SAMPLE = "samples/stream.c"
LINES_MAX = 60


def check(root):
    sample = house.read_text(root, SAMPLE)
    findings = []
    if f"```c\n{sample}```" not in house.read_text(root, "README.md"):
        findings.append(f"README.md does not show {SAMPLE} as it is")
    count = len(sample.splitlines())
    if count > LINES_MAX:
        findings.append(f"{SAMPLE} has {count} lines, wanted at most {LINES_MAX}")
    return findings


if __name__ == "__main__":
    house.report("sample in README", check(sys.argv[1]))
