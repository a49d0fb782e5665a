"""The GPU table of README.md is what bench/results/*.json say, no more and no less. --update writes it."""

import json
import os
import sys

import house

BEGIN = "<!-- gpu table: tests/house/gpu_table.py -->"
END = "<!-- end of gpu table -->"
NOTHING = ("Nothing in this table yet: **no kernel of this library has run on a GPU so far.** What is known about them comes from the\n"
           "emulator (`tests/emulation`). `./dev gpu-bundle` builds what fills it.\n")
FIGURES = ("copy ceiling", "linear f8 7168x2048, 1 rows", "experts f8, 8 of 64, 2048x1408, 8 tokens",
           "mla decode, 16 heads, 4096 keys, 1 rows", "decode one token, p50")


def figures_of(result):
    """{name: figure} over the bench entries that ran on the GPU."""
    found = {}
    for name, entry in result["bench"].items():
        if name.endswith("-cpu") or "figures" not in entry or "1x128" in name:
            continue
        found.update({figure["name"]: figure for figure in entry["figures"]})
    return found


def cell(figure):
    if figure is None:
        return "-"
    text = f"{figure['us']:.1f} us"
    return text + f", {figure['of_copy']:.2f} of copy" if "of_copy" in figure else text


def row(name, result):
    passed = sum(test["passed"] for test in result["tests"])
    found = figures_of(result)
    cells = [result["device"], result["date"], result["commit"][:12], f"{passed} / {result['failed']}",
             result["compute_sanitizer"]] + [cell(found.get(figure)) for figure in FIGURES]
    return "| " + " | ".join(cells) + f" | `{name}` |"


def table(root):
    folder = os.path.join(root, "bench/results")
    names = sorted(name for name in (os.listdir(folder) if os.path.isdir(folder) else []) if name.endswith(".json"))
    if not names:
        return NOTHING
    head = ["device", "date", "commit", "tests passed / failed", "compute-sanitizer", *FIGURES, "file"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            lines.append(row(f"bench/results/{name}", json.load(file)))
    return "\n".join(lines) + "\n"


def split(text):
    """(before, table, after), or None without the markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        return None
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    return before + BEGIN + "\n", inside.removeprefix("\n"), END + after


def check(root, update=False):
    parts = split(house.read_text(root, "README.md"))
    if parts is None:
        return [f"README.md: wanted {BEGIN} and {END} once each"]
    wanted = table(root)
    if parts[1] == wanted:
        return []
    if update:
        with open(os.path.join(root, "README.md"), "w", encoding="utf-8") as file:
            file.write(parts[0] + wanted + parts[2])
        return []
    return ["README.md: its GPU table differs from bench/results; run python3 tests/house/gpu_table.py . --update"]


if __name__ == "__main__":
    house.report("GPU table", check(sys.argv[1], "--update" in sys.argv))
