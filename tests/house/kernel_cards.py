"""Each kernels/*.cu opens with its card: who does what, bytes, bound, and what was measured or that nothing was."""

import re
import sys

import house

WANTED = {
    "who does what": r"\bwho(?: does what)?:",
    "bytes": r"\bbytes?\b",
    "expected bound": r"\bbound\b",
    "a measured figure with device and date, or 'not yet run on hardware'":
        r"not yet run on hardware|measured: .*\d{4}-\d{2}-\d{2}",
}


def card_of(text):
    """The comment lines at the top, as one line."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def check(root):
    findings = []
    for name in house.project_files(root):
        if not (name.startswith("kernels/") and name.endswith(".cu")):
            continue
        card = card_of(house.read_text(root, name))
        findings += [f"{name}: its card lacks {what}" for what, pattern in WANTED.items()
                     if not re.search(pattern, card, re.IGNORECASE)]
    return findings


if __name__ == "__main__":
    house.report("kernel cards", check(sys.argv[1]))
