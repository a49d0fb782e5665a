"""Documents name only what exists: links, and paths and source file names in backticks (CHANGELOG.md is history)."""

import os
import re
import sys

import house

LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```[^\n]*$", re.MULTILINE | re.DOTALL)
SOURCE_NAME = re.compile(r"^[\w.-]+\.(?:h|hpp|c|cpp|cu|cuh|py|md|sh|cmake)$")
PATH = re.compile(r"^\.?[\w.-]+(?:/[\w.-]+)*/?$")
GENERATED = ("build", "install")
# Folders of the plan: a document may say in words that they come later, but not name files in them as if they stood.
ROOMS = {"src", "include", "kernels", "bindings", "samples", "bench", "tools", "tests", "docs", "cmake", ".ci"}


def wanted_path(code, tops):
    """The path relative to the root that a piece of code names, or None when it names no path of ours."""
    path = re.sub(r":\d+(?:-\d+)?$", "", code.split(" ")[0] if code.startswith("./") else code)
    path = path[2:] if path.startswith("./") else path
    if not PATH.match(path) or path.split("/")[0] in GENERATED or ".." in path:
        return None
    if "/" in path:
        return path if path.split("/")[0] in tops | ROOMS else None
    return path if code.startswith("./") else None


def check_document(root, name, text, tops, names):
    findings = []
    here = os.path.dirname(name)
    for target in LINK.findall(text):
        path = target.split("#")[0]
        if path and "://" not in path and not path.startswith("mailto:"):
            if not os.path.exists(os.path.join(root, here, path)):
                findings.append(f"{name}: links to {target}, which does not exist")
    for code in CODE.findall(text):
        path = wanted_path(code.strip(), tops)
        places = (path or "", os.path.join(here, path or ""))
        if path and not any(os.path.exists(os.path.join(root, p)) for p in places):
            findings.append(f"{name}: names `{code}`, which does not exist")
        elif SOURCE_NAME.match(code) and code not in names:
            findings.append(f"{name}: names `{code}`, and no file has that name")
    return findings


def check(root):
    files = house.project_files(root)
    tops = {f.split("/")[0] for f in files if "/" in f}
    names = {os.path.basename(f) for f in files}
    findings = []
    for name in files:
        if name.endswith(".md") and os.path.basename(name) != "CHANGELOG.md":
            text = FENCE.sub("", house.read_text(root, name) or "")
            findings += check_document(root, name, text, tops, names)
    return findings


if __name__ == "__main__":
    house.report("paths in documents", check(sys.argv[1]))
