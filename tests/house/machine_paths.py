"""No file names a place of the machine it was written on."""

import re
import sys

import house

# Put together here, so that this file does not contain what it forbids.
PLACES = ("work", "root", "opt", "home", "Users")
PATTERN = re.compile(r"(?<![\w.~$}\)<-])/(?:" + "|".join(PLACES) + r")/[\w.-]")


def check(root):
    findings = []
    for name in house.project_files(root):
        text = house.read_text(root, name)
        for number, line in enumerate((text or "").split("\n"), 1):
            found = PATTERN.search(line)
            if found:
                start = max(0, found.start() - 20)
                findings.append(f"{name}:{number}: …{line[start:found.end() + 40].strip()}…")
    return findings


if __name__ == "__main__":
    house.report("machine paths", check(sys.argv[1]))
