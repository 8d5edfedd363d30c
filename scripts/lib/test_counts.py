"""Reads ctest's JUnit files: seconds a kind, each skipped test with its reason, and one closing line."""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict

# What says why a test was skipped: GoogleTest's message is on the lines after its place.
REASONS = (
    re.compile(r"^SKIP(?:PED)?: (.+)$", re.MULTILINE),
    re.compile(r"^.*: Skipped\n((?:(?!\[).+\n?)+)", re.MULTILINE),
)


def reason_of(case):
    output = case.findtext("system-out") or ""
    for pattern in REASONS:
        match = pattern.search(output)
        if match:
            return " ".join(match.group(1).split())
    skipped = case.find("skipped")
    return (skipped.get("message") if skipped is not None else None) or "no reason given"


def kind_of(case):
    """Test names begin with their kind: unit_base.X, component_qmp.Y, e2e.tiny. (CMake 3.25 writes no labels.)"""
    return re.match(r"[A-Za-z0-9]*", case.get("name")).group(0)


def main(paths):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    seconds = defaultdict(float)
    tests = defaultdict(int)
    reasons = defaultdict(list)
    for path in paths:
        if not os.path.exists(path):
            continue
        for case in ElementTree.parse(path).iter("testcase"):
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.get("status") == "fail":
                counts["failed"] += 1
            elif skipped is None and case.get("status") == "run":
                counts["passed"] += 1
            elif skipped is not None and "SKIP" in (skipped.get("message") or ""):
                counts["skipped"] += 1
                reasons[reason_of(case)].append(case.get("name"))
            else:  # not run: a missing program, a failed fixture, the stop time
                counts["failed"] += 1
                print(f"Not run: {case.get('name')}: {reason_of(case)}")
            seconds[kind_of(case)] += float(case.get("time") or 0)
            tests[kind_of(case)] += 1
    if tests:
        print("Minutes of tests by kind (several run at a time):")
        for kind in sorted(tests):
            print(f"  {kind:<14} {seconds[kind] / 60:6.1f}  {tests[kind]} tests")
    for reason in sorted(reasons):
        names = reasons[reason]
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        print(f"Skipped, {reason}: {shown}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
