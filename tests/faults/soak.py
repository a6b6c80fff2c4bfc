"""`python -m tests.faults.soak --minutes 30` (make soak): the whole suite under a mixed load, for long.

Two servers with two workers each and their clients, a manager; partners who transfer, rename, remove and break off,
strangers with wrong passwords and garbage. Workers of the second server, and its client, are killed now and then; every
half a minute a new version is pushed to both. What the daemons hold (memory, descriptors, threads, asyncio tasks) is
looked at all the while: what is never killed must not grow after the warm-up. At the end every byte of every
acknowledged file is compared. Writes docs/reliability/soak.json and soak.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.e2e.suite import ENV, ROOT, Suite, alive, running
from tests.faults import plot
from tests.faults.mixed import Mixed

RESULTS: Final = ROOT / "docs" / "reliability"
INSIDE: Final = Path(__file__).parent / "inside"
LOOK: Final = 5.0
"""Seconds between samples."""
WARM_UP: Final = 0.25
"""Of the time: caches fill, threads start."""
LIMITS: Final = {"PSS (MiB)": (1.08, 3), "descriptors": (1.3, 12), "threads": (1.0, 3), "tasks": (1.3, 20)}
"""What is held in the last quarter, at most so many times what was held in the quarter after the warm-up, and so much
more: load comes and goes."""


@dataclass
class Watched:
    """`series`: measure -> daemon -> (seconds, value). A daemon that is killed goes on under its name."""

    series: dict[str, dict[str, list[tuple[float, float]]]] = field(
        default_factory=lambda: {measure: {} for measure in LIMITS}
    )

    def add(self, measure: str, daemon: str, at: float, value: float) -> None:
        self.series[measure].setdefault(daemon, []).append((at, value))

    def growth(self, measure: str, daemon: str, seconds: float) -> tuple[float, float]:
        """What was held in the quarter after the warm-up, and in the last one."""
        points = self.series[measure][daemon]
        first = [value for at, value in points if WARM_UP <= at / seconds < 2 * WARM_UP]
        last = [value for at, value in points if at / seconds >= 1 - WARM_UP]
        return statistics.median(first), statistics.median(last)


def processes(suite: Suite) -> dict[str, int]:
    """By name, as they are now. Those of the first server, its client and the manager live to the end."""
    found = {each["name"]: each["pid"] for kind in ("clients", "managers") for each in suite.ready[kind]}
    for server in suite.ready["servers"]:
        found[server["name"]] = server["pid"]
        for number, pid in enumerate(workers(server["pid"])):
            found[f"{server['name']} worker {number}"] = pid
    return found


def workers(supervisor: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]


def sample(suite: Suite, tasks: Path, watched: Watched, at: float) -> None:
    for name, pid in processes(suite).items():
        try:
            memory = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            held = {
                "PSS (MiB)": int(memory[1]) / 1024 if memory else 0.0,
                "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
                "threads": len(os.listdir(f"/proc/{pid}/task")),
                "tasks": int((tasks / f"tasks.{pid}").read_text() or 0),
            }
        except (OSError, ValueError):  # it has just been killed, or has just started
            continue
        for measure, value in held.items():
            watched.add(measure, name, at, value)


class Soak:
    def __init__(self, suite: Suite, tasks: Path, seconds: float, mixed: Mixed) -> None:
        self.suite, self.tasks, self.seconds, self.mixed = suite, tasks, seconds, mixed
        self.watched = Watched()
        self.killed = dict.fromkeys(("worker", "usp-client"), 0)
        self.pushed = 0
        self._chance = random.Random(2)
        self._over = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        turns = {self._kill_a_worker: 45.0, self._kill_the_client: 240.0, self._push: 30.0}
        threads = [threading.Thread(target=self._every, args=turn) for turn in turns.items()]
        threads.append(threading.Thread(target=self._look, args=(began,)))
        for thread in threads:
            thread.start()
        try:
            asyncio.run(self.mixed.run(self.seconds))
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _every(self, act: Any, seconds: float) -> None:
        while not self._over.wait(seconds):
            act()

    def _look(self, began: float) -> None:
        while not self._over.wait(LOOK):
            at = time.monotonic() - began
            sample(self.suite, self.tasks, self.watched, at)
            if int(at / LOOK) % 12 == 0:
                told = self.mixed.told
                print(
                    f"{at:6.0f} s  {self.mixed.sessions} sessions, {told.bytes >> 20} MiB, {dict(told.done)}",
                    flush=True,
                )

    def _kill_a_worker(self) -> None:
        found = workers(self.suite.ready["servers"][1]["pid"])
        if found:
            os.kill(self._chance.choice(found), signal.SIGKILL)
            self.killed["worker"] += 1

    def _kill_the_client(self) -> None:
        with self.suite.restartable("clients", 1) as client:
            client.kill()
            self.killed["usp-client"] += 1

    def _push(self) -> None:
        self.pushed += 1
        node = self.suite.api("GET", "/items/inbound-nodes/partners")
        self.suite.api("PUT", "/items/inbound-nodes/partners", {**node, "banner": f"turn {self.pushed}"})
        for server in self.suite.ready["servers"]:
            try:
                self.suite.api("POST", f"/servers/{server['name']}/push?wait=20")
            except urllib.error.HTTPError as error:
                print(f"push: {error.code} {error.read().decode()[:300]}", flush=True)

    def problems(self) -> list[str]:
        """Of what is never killed: what has grown."""
        steady = [each for each in self.watched.series["tasks"] if not re.match(r"usp-(server|client)-2", each)]
        assert len(steady) == 5, steady
        found = []
        for measure, (factor, more) in LIMITS.items():
            for daemon in steady:
                first, last = self.watched.growth(measure, daemon, self.seconds)
                if last > first * factor + more:
                    found.append(f"{daemon}: {measure} grew from {first:.1f} to {last:.1f}")
        return found

    def summary(self, compared: int) -> dict[str, Any]:
        told, held = self.mixed.told, self.watched
        return {
            "minutes": round(self.seconds / 60, 1),
            "sessions": self.mixed.sessions,
            "megabytes": told.bytes >> 20,
            "done": dict(sorted(told.done.items())),
            "strangers": dict(sorted(self.mixed.bad.items())),
            "killed": self.killed,
            "pushed": self.pushed,
            "files": len(told.there),
            "compared": compared >> 20,
            "held": {
                measure: {name: [round(x, 1) for x in held.growth(measure, name, self.seconds)] for name in sorted(of)}
                for measure, of in held.series.items()
            },
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--partners", type=int, default=16)
    parser.add_argument("--pace", type=float, default=0.8, help="seconds between two acts of a partner")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usp-soak-") as tasks:
        env = {
            "PYTHONPATH": f"{INSIDE}:{ROOT}",
            "USP_SOAK_TASKS": tasks,
            "USP_SERVER__LOGIN_TIMEOUT": "8",
            "USP_SERVER__IDLE_TIMEOUT": "60",
            "USP_LIMITS__FAILURES": "20",
        }
        ENV.update(env)  # of what is started again, too
        with running("--servers", "2", "--workers", "2", env=env) as suite:
            login = {name: suite.ready["partner"][name] for name in ("username", "password")}
            mixed = Mixed([suite.port(), suite.port(10)], login, options.partners, options.pace)
            soak = Soak(suite, Path(tasks), options.minutes * 60, mixed)
            soak.run()
            compared = mixed.told.check(suite.files)
            dead = [name for name, pid in processes(suite).items() if not alive(pid)]
            tracebacks = suite.logs().count("Traceback")
    problems = [*soak.problems(), *(f"{name} is dead" for name in dead)]
    if tracebacks:
        problems.append(f"{tracebacks} tracebacks in the logs")
    options.out.mkdir(parents=True, exist_ok=True)
    found = soak.summary(compared) | {"problems": problems}
    (options.out / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "soak.svg").write_text(plot.svg(soak.watched.series, soak.seconds))
    print(json.dumps(found, indent=1))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
