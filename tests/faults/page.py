"""docs/reliability.md: made from the scorecard's rows, what playing them gave (figures.json), and the defects found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.defects import DEFECTS
from tests.faults.scorecard import ROWS, Row

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FIGURES: Final = HERE / "figures.json"
SOAK: Final = ROOT / "docs" / "reliability" / "soak.json"
FUZZED: Final = ROOT / "tests" / "fuzz" / "RESULTS.md"
COMPILED: Final = ("api_items", "api_sets", "control_bodies", "ipc_messages")
"""Targets that are quick and mostly refuse what is no JSON: of little meaning in a sum."""
PAGE: Final = ROOT / "docs" / "reliability.md"

HEAD: Final = """\
# Reliability: the scorecard

<!-- Made by `make scorecard` from tests/faults/. -->

What USP promises: an operation that the partner was told succeeded has succeeded at the target, byte for byte. Whatever
dies, only the sessions on it end, cleanly, and the next login works.

Here is every fault that we break it with on purpose: how, what must hold (a test fails if it does not), and what was
measured. All tests run real daemons, real OpenSSH and real files; every upload that was acknowledged is compared with
what lies at the target. The machine had two cores; all processes ran on it, and other work beside them: times are those
of a busy machine. `make scorecard` plays everything again and writes this page (`ARGS="client link"`: some rows), as
root on Debian for all of it; `make soak` plays the long mixed load ([below](#soak)).

How faults are made: `tests/faults/proxy.py` is a TCP proxy that delays, narrows, resets, swallows (a host that is gone:
no FIN, no RST) and cuts in the middle; `tests/faults/line.py` does it packet by packet with a TUN device, so that the
kernel's own TCP sees loss and reordering; processes are killed with SIGKILL; disks are small file systems that fill up;
limits are set on running processes (`prlimit`, control groups). Where a call fails at its n-th time, for every n, a
wrapper of the tests does it: production code has no switch for it. What could not be played here needs Oracle's own
database; its protocol is played against a server of the tests.
"""


@dataclass(frozen=True)
class Played:
    test: str
    outcome: str
    seconds: float
    figures: Sequence[str]


def kept() -> dict[str, list[Played]]:
    if not FIGURES.exists():
        return {}
    found: dict[str, list[dict[str, Any]]] = json.loads(FIGURES.read_text())
    return {row: [Played(**each) for each in played] for row, played in found.items()}


def keep(row: Row, played: Sequence[Played]) -> None:
    rows = kept() | {row.name: list(played)}
    named = {name: [asdict(each) for each in rows[name]] for name in sorted(rows)}
    FIGURES.write_text(json.dumps(named, indent=1) + "\n")


def write() -> None:
    PAGE.write_text(text())


def text() -> str:
    return "".join(f"{line}\n" for line in _lines(kept()))


def _lines(figures: dict[str, list[Played]]) -> Iterator[str]:
    yield HEAD
    yield "## At a glance\n"
    yield "| fault | tests | result |"
    yield "|---|---|---|"
    for row in ROWS:
        played = figures.get(row.name, [])
        yield f"| [{row.fault}](#{row.name}) | {len(played) or ''} | {_verdict(row, played)} |"
    yield ""
    for row in ROWS:
        yield from _row(row, figures.get(row.name, []))
    yield from _soak()
    yield from _fuzz()
    yield "## Defects found on the way\n"
    yield "Each was mended, and has a test that failed before.\n"
    yield "| what was wrong | test |"
    yield "|---|---|"
    for defect in DEFECTS:
        yield f"| {defect.what} | `{defect.test}` |"


def _soak() -> Iterator[str]:
    yield "## Soak\n"
    yield (
        "`make soak`: two servers with two workers each, their clients, a manager; partners upload small and big "
        "files, download, rename, remove, list and break off; strangers come with wrong passwords, garbage, half a key "
        "exchange and silence; workers of the second server and its client are killed, new versions are pushed. What "
        "is never killed must not grow. At the end every byte of every acknowledged file is compared.\n"
    )
    if not SOAK.exists():
        yield "Not played.\n"
        return
    found = json.loads(SOAK.read_text())
    killed = ", ".join(f"{times} times a {what}" for what, times in found["killed"].items())
    strangers = sum(found["strangers"].values())
    yield f"* {found['minutes']:.0f} minutes, {found['sessions']} sessions, {found['megabytes']} MiB relayed"
    yield f"* acknowledged: {', '.join(f'{times} {act}' for act, times in found['done'].items() if ' ' not in act)}"
    yield f"* killed: {killed}; {found['pushed']} pushes to both servers; {strangers} connections of strangers"
    yield (
        f"* {found['files']} files compared at the end, {found['compared']} MiB: 0 wrong bytes, 0 lost; what was "
        "removed is gone, a rename whose answer was lost is done or not done"
    )
    yield f"* grown: {', '.join(found['problems']) or 'nothing'}\n"
    yield "| held, after a quarter of the time -> at the end | " + " | ".join(found["held"]) + " |"
    yield "|---|" + "---|" * len(found["held"])
    for daemon in sorted(next(iter(found["held"].values()))):
        yield f"| {daemon} | " + " | ".join("{:g} -> {:g}".format(*of[daemon]) for of in found["held"].values()) + " |"
    yield "\n![Memory, descriptors, threads and tasks of each daemon over the soak](reliability/soak.svg)\n"


def _fuzz() -> Iterator[str]:
    """From the table of tests/fuzz/RESULTS.md."""
    told = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| [\d,]+ \| ([\d,]+) \| (\d+) \|$", FUZZED.read_text(), re.MULTILINE)
    runs = {name: tuple(int(each.replace(",", "")) for each in numbers) for name, *numbers in told}
    json_only = sum(runs[name][0] for name in COMPILED)
    executions = sum(run[0] for run in runs.values())
    yield "## Fuzz\n"
    yield (
        f"`make fuzz` lets atheris (libFuzzer, guided by coverage) loose on {len(runs)} parsers and connections, "
        "`make fuzz-night` for a night; `make test` replays what it found interesting. What the runs of this release "
        "came to, finding by finding: `tests/fuzz/RESULTS.md`.\n"
    )
    yield (
        f"* {(executions - json_only) / 1e6:.1f} million executions of {len(runs) - len(COMPILED)} targets, and "
        f"{json_only / 1e6:.1f} million of the {len(COMPILED)} that are mostly compiled code (JSON)"
    )
    yield f"* {sum(run[2] for run in runs.values())} times it found something; no finding is open\n"
    yield "| target | executions | edges covered |"
    yield "|---|---:|---:|"
    yield from (f"| `{name}` | {run[0]:,} | {run[1]:,} |" for name, run in sorted(runs.items()))
    yield ""


def _verdict(row: Row, played: Sequence[Played]) -> str:
    if not played:
        long = any(test.startswith("tests/faults/") for test in row.tests)
        return "not played yet" if long else "no figures yet; `make test` plays it"
    failed = sum(each.outcome == "failed" for each in played)
    skipped = sum(each.outcome == "skipped" for each in played)
    return f"{failed} failed" if failed else f"passed ({skipped} could not be played here)" if skipped else "passed"


def _row(row: Row, played: Sequence[Played]) -> Iterator[str]:
    yield f"### {row.name}\n"
    yield f"**Fault:** {row.fault}.\n"
    yield f"* Provoked: {row.provoked}"
    yield f"* Asserted: {row.asserted}"
    yield f"* Tests: {', '.join(f'`{test}`' for test in row.tests)}\n"
    figures = [line for each in played for line in each.figures]
    if figures:
        yield "Measured:\n"
        yield from (f"* {line}" for line in figures)
        yield ""
