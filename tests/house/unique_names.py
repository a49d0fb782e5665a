"""A file name says where a file is: no two sources, headers or tests share one."""

import collections
import os
import sys

import house

SUFFIXES = (".h", ".hpp", ".c", ".cpp", ".cu", ".cuh")
FOLDERS = ("src/", "include/", "kernels/", "tests/")


def check(root):
    places = collections.defaultdict(list)
    for name in house.project_files(root):
        if name.startswith(FOLDERS) and name.endswith(SUFFIXES):
            places[os.path.basename(name)].append(name)
    return [f"{base}: the same name in {', '.join(names)}"
            for base, names in sorted(places.items()) if len(names) > 1]


if __name__ == "__main__":
    house.report("unique file names", check(sys.argv[1]))
