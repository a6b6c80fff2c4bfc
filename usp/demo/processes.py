"""Starting, watching and stopping the demo's processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from usp.errors import UspError

STOP_SECONDS = 15.0


@dataclass
class Process:
    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    told: bool = False  # its end was reported

    @property
    def pid(self) -> int:
        return self.popen.pid

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


@dataclass
class Processes:
    """All processes of a demo, in the order of their start. They are stopped in the opposite order."""

    running: list[Process] = field(default_factory=list)

    def start(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
        # A session of its own: Ctrl-C in the terminal reaches usp-demo only, which then stops the others in order.
        with log.open("ab") as output:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        process = Process(name, popen, log)
        self.running.append(process)
        return process

    def check(self) -> None:
        """Raise if a process has ended, with the last lines of its log."""
        for process in self.running:
            if (code := process.popen.poll()) is not None:
                raise UspError("internal", f"{process.name} ended with status {code}:\n{process.tail()}")

    def ended(self) -> list[Process]:
        """Those that ended since the last call."""
        news = [process for process in self.running if not process.told and process.popen.poll() is not None]
        for process in news:
            process.told = True
        return news

    def stop(self) -> None:
        """SIGTERM, last started first, then SIGKILL for what is left, whole process groups, so that nothing stays."""
        for process in reversed(self.running):
            if process.popen.poll() is None:
                process.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in reversed(self.running):
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            _kill_group(process.pid)
        self.running.clear()


def run(argv: Sequence[str], *, stdin: str = "") -> str:
    """Run a command to its end and return what it printed. Raises internal with its error text."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UspError("internal", f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def python(module: str, *args: str) -> list[str]:
    """The command line of one of our own programs, with this interpreter."""
    return [sys.executable, "-m", module, *args]


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
