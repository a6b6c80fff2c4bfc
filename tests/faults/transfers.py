"""Transfers under way while something is broken: slow ones, so that they are in the middle of it."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

from tests.e2e.suite import Suite, random_file, sha256, wait_until


class Uploads:
    """`count` uploads of a file of `size` bytes, each in a session of its own, at so many kbit/s."""

    _numbers = itertools.count()

    def __init__(
        self, suite: Suite, folder: Path, count: int, *, size: int, rate: int, options: tuple[str, ...] = ()
    ) -> None:
        self.suite = suite
        name = f"up{next(self._numbers)}"
        self.names = [f"{name}-{number}" for number in range(count)]
        self.digest = random_file(folder / name, size)
        self.running = [
            suite.start_sftp(f"put {folder / name} {each}\n", "-l", str(rate), *options) for each in self.names
        ]

    def under_way(self, within: float = 20) -> None:
        files = [self.suite.files / name for name in self.names]
        wait_until(
            lambda: all(file.exists() and file.stat().st_size for file in files), within, "uploads are under way"
        )

    def finish(self, within: float = 120) -> list[bool]:
        """Which were acknowledged. Each that was is at the target, byte for byte."""
        told = [ended(popen, within) for popen in self.running]
        for name, acknowledged in zip(self.names, told, strict=True):
            assert not acknowledged or sha256(self.suite.files / name) == self.digest, f"{name} is wrong"
        return told


def ended(popen: subprocess.Popen[str], within: float) -> bool:
    """Whether it ended well."""
    try:
        return popen.wait(within) == 0
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        if popen.stdout:
            popen.stdout.close()


def round_trip(suite: Suite, folder: Path, size: int, *options: str, timeout: float = 300, name: str = "there") -> None:
    """A file goes there and comes back, whole."""
    digest = random_file(folder / "sent", size)
    done = suite.sftp(f"put {folder}/sent {name}\nget {name} {folder}/back\n", *options, timeout=timeout)
    assert done.returncode == 0, done.stderr
    assert sha256(suite.files / name) == digest
    assert sha256(folder / "back") == digest
    os.unlink(folder / "back")
