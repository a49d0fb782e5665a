"""Counts single tests after a ctest run: count_tests.py <results folder>.

Reads ctest.xml (ctest --output-junit) and, for GoogleTest programs, <name>.json; prints one row a program and the
sum, and leaves `passed failed skipped` in counts.txt for .ci/run. A program that crashed counts as one failure."""

import json
import os
import sys
import xml.etree.ElementTree


def count_gtest(path):
    """(passed, failed, skipped) of one GoogleTest report."""
    with open(path, encoding="utf-8", errors="replace") as file:
        data = json.load(file)
    passed = failed = skipped = 0
    for suite in data["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("failures"):
                failed += 1
            elif test["result"] == "SKIPPED" or test["status"] == "NOTRUN":
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped


def count_case(case, folder):
    """(passed, failed, skipped) of one ctest entry."""
    status = case.get("status")
    path = os.path.join(folder, case.get("name") + ".json")
    counts = (0, 0, 0)
    if os.path.isfile(path):
        try:
            counts = count_gtest(path)
        except (ValueError, KeyError):
            counts = (0, 1, 0)
    elif status == "run":
        counts = (1, 0, 0)
    if status == "run":
        return counts
    if status == "disabled" or case.find("skipped") is not None and status != "fail":
        return counts[0], counts[1], counts[2] + 1
    # A failing program without a failing test: a crash, a time-out or a sanitizer's report at its end.
    return counts if counts[1] else (counts[0], 1, counts[2])


def main(folder):
    root = xml.etree.ElementTree.parse(os.path.join(folder, "ctest.xml")).getroot()
    rows = [(c.get("name"), count_case(c, folder), float(c.get("time") or 0)) for c in root.iter("testcase")]
    total = tuple(sum(row[1][i] for row in rows) for i in range(3))
    print(f"{'':32}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for name, counts, seconds in rows:
        mark = "  <--" if counts[1] else ""
        print(f"{name:32}{counts[0]:8}{counts[1]:8}{counts[2]:9}{seconds:9.1f}{mark}")
    print(f"{'all':32}{total[0]:8}{total[1]:8}{total[2]:9}")
    with open(os.path.join(folder, "counts.txt"), "w", encoding="utf-8") as file:
        file.write(f"{total[0]} {total[1]} {total[2]}\n")


if __name__ == "__main__":
    main(sys.argv[1])
