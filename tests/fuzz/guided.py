"""Coverage-guided fuzzing of every target with atheris (libFuzzer): `make fuzz ARGS="--seconds 600"`.

Each target runs in a process of its own, in turns, until the time or the number of executions is used up. What it finds
interesting is kept in `build/fuzz/TARGET`, and begins from the corpus in the repository (`corpus/TARGET.hex`, an input
in each line). A finding ends the target's turn, is written to `build/fuzz/findings`, and makes the command fail;
`--merge` puts the least that covers as much back into the repository's corpus. The sums of all runs are in
`build/fuzz/runs.json`; `--table` shows them.

atheris is the extra `fuzz` of this package: it has wheels for Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

from tests.fuzz.corpora import CORPUS, corpus

HERE: Final = Path(__file__).parent
INSIDE: Final = "--inside"
"""Before a target's name and libFuzzer's own arguments: be its process."""
BUILD: Final = Path("build/fuzz")
TURN: Final = 60
"""Seconds of a target before the next one has its turn."""
SHARE: Final = 0.12
"""Of the executions that are wanted: a quick target that has so many has no more turns."""
LONGEST: Final = 8192
SLOWEST: Final = 20
"""Seconds that one input may take."""
MEMORY: Final = 2048
"""MiB that a target may take."""
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> int:
    if sys.argv[1:2] == [INSIDE]:
        inside(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="which targets; all, if none is named")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of them together")
    parser.add_argument("--executions", type=int, default=0, help="stop when all runs together have so many")
    parser.add_argument("--merge", action="store_true", help="put what was found back into the repository's corpus")
    parser.add_argument("--table", action="store_true", help="show what all runs came to")
    arguments = parser.parse_args()
    names = arguments.targets or every()
    runs = _runs()
    if arguments.table:
        print(table(runs))
        return 0
    if arguments.merge:
        for name in names:
            print(name, merge(name))
        return 0
    return take_turns(names, runs, arguments.seconds, arguments.executions)


def every() -> list[str]:
    from tests.fuzz.beginnings import BEGINNINGS  # not above: inside, all is imported to be instrumented

    return list(BEGINNINGS)


def inside(name: str, flags: list[str]) -> None:
    """The fuzzer itself. It does not come back."""
    import atheris

    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["usp", "asyncssh"]):
        from tests.fuzz.ssh_targets import TARGETS
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


def take_turns(names: list[str], runs: dict[str, Any], seconds: float, executions: int) -> int:
    deadline, failed = time.monotonic() + seconds, set[str]()
    while (left := deadline - time.monotonic()) > 1 and len(failed) < len(names):
        for name in names:
            left = deadline - time.monotonic()
            done = sum(run["executions"] for run in runs.values())
            if left < 1 or (executions and done >= executions):
                return bool(failed)
            mine = runs.get(name, {}).get("executions", 0)
            if name in failed or (executions and mine > executions * SHARE):
                continue
            if not turn(name, runs, int(min(TURN, max(5, seconds / len(names)), left))):
                failed.add(name)
    return bool(failed)


def turn(name: str, runs: dict[str, Any], seconds: int) -> bool:
    """False: it found something."""
    work, findings = seeded(name), BUILD / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    flags = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}",
        "-print_final_stats=1", "-reload=0", f"-artifact_prefix={findings}/{name}-", str(work),
    ]  # fmt: skip
    done = subprocess.run(_command(name, flags), capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    run = runs.setdefault(name, {"executions": 0, "seconds": 0.0, "edges": 0, "features": 0, "findings": 0})
    executed, covered = _EXECUTED.search(said), _COVERED.findall(said)
    run["executions"] += int(executed[1]) if executed else 0
    run["seconds"] += time.monotonic() - began
    if covered:
        run["edges"] = max(run["edges"], int(covered[-1][0]))
        run["features"] = max(run["features"], int(covered[-1][1]))
    if done.returncode:
        run["findings"] += 1
        (findings / f"{name}.txt").write_text(said[-20_000:])
        print(f"{name}: FOUND SOMETHING, see {findings}/{name}.txt", flush=True)
    else:
        print(f"{name}: {run['executions']:,} executions, {run['edges']} edges, {run['features']} features", flush=True)
    BUILD.joinpath("runs.json").write_text(json.dumps(runs, indent=1))
    return not done.returncode


def seeded(name: str) -> Path:
    """The folder of its inputs, with those of the repository."""
    work = BUILD / name
    work.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (work / f"seed-{number}").write_bytes(data)
    return work


def seeds(name: str) -> list[bytes]:
    from tests.fuzz.beginnings import beginnings

    return [*beginnings(name), *corpus(name)]


def merge(name: str) -> str:
    """The smallest inputs that lead from line to line as all of them do."""
    from tests.fuzz.ssh_targets import TARGETS

    found = {file.read_bytes() for file in seeded(name).iterdir()} - {b""}
    kept, seen = list[bytes](), set[Step]()
    for data in sorted(found, key=lambda data: (len(data), data)):
        steps = traced(TARGETS[name], data)
        if len(data) <= LONGEST and not steps <= seen:
            kept.append(data)
            seen |= steps
    (CORPUS / f"{name}.hex").write_text("".join(data.hex() + "\n" for data in kept))
    return f"{len(kept)} of {len(found)} inputs, {sum(map(len, kept))} bytes"


Step: TypeAlias = tuple[str, int, int]
"""A function's file, a line of it, and the next one."""


def traced(run: Callable[[bytes], None], data: bytes) -> set[Step]:
    """The steps that an input takes, in the product and in asyncssh."""
    places = tuple(
        str(Path(module.__file__).parent) for module in (sys.modules["usp"], sys.modules["asyncssh"]) if module.__file__
    )
    steps: set[Step] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(places):
            return None
        before = last.get(id(frame), 0) if event == "line" else 0
        steps.add((frame.f_code.co_filename, before, frame.f_lineno))
        last[id(frame)] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return steps


def _command(name: str, flags: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz.guided", INSIDE, name, *flags]


def _runs() -> dict[str, Any]:
    file = BUILD / "runs.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def table(runs: dict[str, Any]) -> str:
    lines = ["| target | executions | a second | edges covered | findings |", "|---|---:|---:|---:|---:|"]
    for name, run in sorted(runs.items()):
        rate = run["executions"] / max(run["seconds"], 1)
        lines.append(f"| `{name}` | {run['executions']:,} | {rate:,.0f} | {run['edges']:,} | {run['findings']} |")
    total, found = sum(run["executions"] for run in runs.values()), sum(run["findings"] for run in runs.values())
    hours = sum(run["seconds"] for run in runs.values()) / 3600
    lines.append(f"| **all**, {hours:.1f} hours | **{total:,}** | | | {found} |")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(HERE.parents[1]))
    sys.exit(main())
