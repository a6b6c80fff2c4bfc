"""`python -m tests.faults [ROW...]`: play the scorecard (make scorecard), keep its figures, and write the page.

Without a row: all of them. `--page` only writes the page anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.faults import page
from tests.faults.page import Played
from tests.faults.scorecard import ROWS, Row

THOROUGH = {"USP_DATABASE_AWAY": "60"}
"""What takes too long for `make test`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("row", nargs="*", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--page", action="store_true", help="play nothing")
    options = parser.parse_args()
    if unknown := set(options.row) - {row.name for row in ROWS}:
        parser.error(f"there is no row called {', '.join(sorted(unknown))}")
    failed = False
    for row in ROWS if not options.page else ():
        if not options.row or row.name in options.row:
            print(f"\n{row.fault}", flush=True)
            found = play(row)
            page.keep(row, found)
            failed |= not found or any(each.outcome == "failed" for each in found)
            for each in found:
                print(f"  {each.outcome:8} {each.seconds:6.1f} s  {each.test}", *each.figures, sep="\n    ", flush=True)
    page.write()
    return int(failed)


def play(row: Row) -> list[Played]:
    """What failed is played once more, as `make test` does: bounds in seconds may not hold on a busy machine."""
    found = play_once(row)
    if all(each.outcome != "failed" for each in found):
        return found
    again = {each.test: each for each in play_once(row)}
    return [again.get(each.test, each) if each.outcome == "failed" else each for each in found]


def play_once(row: Row) -> list[Played]:
    """In a process of its own: what a row breaks is no other's."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
            "-o", "junit_logging=system-out", *row.tests,
        ]  # fmt: skip
        subprocess.run(argv, check=False, env=os.environ | THOROUGH)
        return [played(case) for case in ET.parse(report).getroot().iter("testcase")]


def played(case: ET.Element) -> Played:
    failed = case.find("failure") is not None or case.find("error") is not None
    outcome = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
    output = case.findtext("system-out") or ""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("---")]
    name = f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name']}"
    return Played(name, outcome, float(case.attrib["time"]), lines if outcome == "passed" else [])


if __name__ == "__main__":
    sys.exit(main())
