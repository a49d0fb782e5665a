"""Shared by the house checks: which files the project has, and how a check reports."""

import os
import subprocess
import sys

CODE_SUFFIXES = (".h", ".hpp", ".c", ".cpp", ".cu", ".cuh", ".py", ".sh", ".cmake", ".rs", ".go", ".cs")
GENERATED_FOLDERS = {".git", "build", "install", "__pycache__"}


def project_files(root):
    """Paths relative to root: tracked by git, or new and not ignored; without git, all but build output."""
    try:
        listing = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, check=True)
        names = listing.stdout.decode().split("\0")
        top = subprocess.run(["git", "-C", root, "rev-parse", "--show-toplevel"],
                             capture_output=True, check=True).stdout.decode().strip()
        if os.path.realpath(top) == os.path.realpath(root):
            return sorted({n for n in names if n and os.path.isfile(os.path.join(root, n))})
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in GENERATED_FOLDERS]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


def read_text(root, name):
    """The file's text, or None when it is binary."""
    with open(os.path.join(root, name), "rb") as file:
        data = file.read()
    if b"\0" in data[:8192]:
        return None
    return data.decode("utf-8", errors="replace")


def run(*command):
    """(exit status, stdout and stderr together)."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return done.returncode, done.stdout


def report(what, findings):
    """Prints the findings and ends the script: 0 when there are none."""
    for finding in findings:
        print(finding)
    print(f"{what}: {len(findings)} findings" if findings else f"{what}: clean")
    sys.exit(1 if findings else 0)
