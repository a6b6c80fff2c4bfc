"""What is measured: every row takes a gateway and yields samples."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.gateways import client, many
from tests.bench.gateways.gateway import Gateway
from tests.bench.gateways.process import cpu_seconds, descendants
from tests.bench.gateways.raw import BLOCK
from tests.e2e.suite import random_file, sha256

GIB: Final = 1 << 30
FILES: Final = 2000
FILE_SIZE: Final = 4096
STALLED: Final = 8 << 20
IDLE_CPU: Final = 0.2
"""Seconds of CPU, in three, of a gateway and partners that stand still: keepalives and reports."""


@dataclass(frozen=True)
class Sample:
    """`row`: what was measured, `who`: whose it is (a gateway, or one of its daemons)."""

    row: str
    unit: str
    who: str
    value: float

    def __str__(self) -> str:
        return f"{self.row:<28} {self.who:<32} {self.value:10.2f} {self.unit}"


@dataclass(frozen=True)
class Bench:
    """What all rows need. `here`: the client's directory; `target`: the target's, which is the root for partners."""

    here: Path
    target: Path
    size: int
    cipher: str
    logins: int
    sessions: int
    crowd: int
    line: int
    target_pid: int

    def target_pids(self) -> list[int]:
        """The target's processes, those of its sessions included."""
        return descendants(self.target_pid)

    @property
    def label(self) -> str:
        """The cipher in short."""
        return self.cipher.partition("@")[0].removesuffix("-poly1305")


Row = Callable[[Bench, Gateway], Iterator[Sample]]


def bytes_(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """CPU per GiB and speed of one stream, up and down; the bytes are compared."""
    source, there, back = bench.here / "source", bench.target / "file", bench.here / "back"
    if not source.exists():
        random_file(source, bench.size)
    there.unlink(missing_ok=True)
    for direction, batch, copy in (
        ("up", f"put {source} file\n", there),
        ("down", f"get file {back}\n", back),
    ):
        before = gateway.cpu()
        took = client.sftp(gateway, batch, bench.cipher)
        used = _used(before, gateway.cpu)
        assert sha256(copy) == sha256(source), f"{gateway.name} changed bytes"
        for who, seconds in used.items():
            yield Sample(f"CPU {direction}, {bench.label}", "s/GiB", _who(gateway, who), seconds * GIB / bench.size)
        yield Sample(f"stream {direction}, {bench.label}", "MiB/s", gateway.name, bench.size / took / (1 << 20))
    back.unlink()


def line(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """Speed of one stream that OpenSSH's client holds to a line's rate, up and down."""
    source, back = bench.here / "source", bench.here / "back"
    if not source.exists():
        random_file(source, bench.size)
    (bench.target / "file").unlink(missing_ok=True)  # another gateway's
    for direction, batch in (("up", f"put {source} file\n"), ("down", f"get file {back}\n")):
        took = client.sftp(gateway, batch, bench.cipher, "-l", str(bench.line * 1000))
        row = f"stream {direction}, line of {bench.line} Mbit/s"
        yield Sample(row, "MiB/s", gateway.name, bench.size / took / (1 << 20))
    assert sha256(back) == sha256(source), f"{gateway.name} changed bytes"
    back.unlink()


def logins(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """CPU per login, both legs, until sftp is ready, and away again."""
    many.logins(gateway, 2)
    before = gateway.cpu()
    many.logins(gateway, bench.logins)
    for who, seconds in _used(before, gateway.cpu).items():
        yield Sample("CPU per login", "ms", _who(gateway, who), seconds * 1000 / bench.logins)


def idle(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """Memory per idle session with an open sftp channel. The first few are not counted: they load code."""
    with many.idle(gateway, 10):
        before = gateway.pss()
        with many.idle(gateway, bench.sessions):
            after = gateway.pss()
    for who, kib in after.items():
        yield Sample("memory per idle session", "KiB", _who(gateway, who), (kib - before[who]) / bench.sessions)


def stalled(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """Memory for each of 100 transfers that stand still: uploads to a stopped target, downloads to stopped partners."""
    folder = bench.target / "many"
    folder.mkdir(exist_ok=True)
    count, size = many.TRANSFERS, STALLED
    for direction in ("up", "down"):
        random_file(folder / "0", size)
        with many.transfers(gateway, count, direction, size) as transfers:
            before = gateway.pss()
            if direction == "up":
                with _stopped(bench.target_pids()):
                    transfers.begin()
                    after = _when_still(gateway, transfers.pid)
            else:
                began = sum(gateway.cpu().values())
                transfers.begin()
                while sum(gateway.cpu().values()) < began + 0.1:  # the requests are on their way
                    time.sleep(0.05)
                with _stopped([transfers.pid]):
                    after = _when_still(gateway, transfers.pid)
            transfers.finish()
        for who, kib in after.items():
            yield Sample(f"memory per stalled {direction}load", "KiB", _who(gateway, who), (kib - before[who]) / count)
        if direction == "up":
            assert all((folder / str(number)).read_bytes() == bytes(size) for number in range(count))
    for file in folder.iterdir():
        file.unlink()


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _when_still(gateway: Gateway, partners: int) -> dict[str, int]:
    """Its memory when it grows no more, and neither it nor the partners have anything to do."""
    found, busy = gateway.pss(), _busy(gateway, partners)
    while True:
        time.sleep(3)
        now, still_busy = gateway.pss(), _busy(gateway, partners)
        if all(now[who] - was < 500 for who, was in found.items()) and still_busy - busy < IDLE_CPU:
            return now
        found, busy = now, still_busy


def _busy(gateway: Gateway, partners: int) -> float:
    """Seconds of CPU."""
    return sum(gateway.cpu().values()) + cpu_seconds([partners])


def crowd(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """CPU per GiB of 100 of 1,000 sessions that transfer at once, and of one session alone, with the same client."""
    folder = bench.target / "many"
    folder.mkdir(exist_ok=True)
    for sessions, transferring in ((1, 1), (bench.crowd, many.TRANSFERS)):
        size = bench.size // transferring // BLOCK * BLOCK
        (folder / "0").write_bytes(bytes(size))
        for direction in ("up", "down"):
            with many.transfers(gateway, sessions, f"crowd-{direction}", size) as transfers:
                before = gateway.cpu()
                transfers.begin()
                transfers.finish()
                used = _used(before, gateway.cpu)
            for who, seconds in used.items():
                row = f"CPU {direction}, {min(sessions, transferring)} of {sessions} sessions"
                yield Sample(row, "s/GiB", _who(gateway, who), seconds * GIB / (size * transferring))
    for file in folder.iterdir():
        assert file.read_bytes() == bytes(size)
        file.unlink()


def stat(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """The round trip of one small request, again and again."""
    (bench.target / "small").write_bytes(b"x")
    with client.raw_sftp(gateway, bench.cipher) as sftp:
        times = [sftp.stat("small") for _ in range(1500)][500:]
    yield Sample("stat round trip, median", "us", gateway.name, statistics.median(times) * 1e6)


def files(bench: Bench, gateway: Gateway) -> Iterator[Sample]:
    """Many small files, one after another."""
    source, there = bench.here / "files", bench.target / "files"
    if not source.exists():
        source.mkdir()
        for number in range(FILES):
            (source / f"{number:05}").write_bytes(number.to_bytes(4, "big") * (FILE_SIZE // 4))
    there.mkdir(exist_ok=True)  # it stays: rclone remembers what it saw
    for file in there.iterdir():
        file.unlink()
    took = client.sftp(gateway, f"put {source}/* files/\n", bench.cipher)
    assert all((there / file.name).read_bytes() == file.read_bytes() for file in source.iterdir())
    yield Sample("files of 4 KiB up", "1/s", gateway.name, FILES / took)


ROWS: Final[Mapping[str, Row]] = {
    "idle": idle,
    "stalled": stalled,
    "bytes": bytes_,
    "line": line,
    "logins": logins,
    "stat": stat,
    "files": files,
    "crowd": crowd,
}

NEED_CPU: Final = frozenset({"logins", "idle", "stalled", "crowd"})
"""Rows that have nothing to say about a gateway without processes, that is about going direct."""

ONCE: Final = frozenset({"idle", "stalled"})
"""Rows with one turn only, and first: later ones would find the memory that the first has left behind."""

WITH_CIPHERS: Final = frozenset({"bytes"})
"""Rows measured with every cipher; the others with the first."""


def _used(before: Mapping[str, float], now: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    time.sleep(0.1)  # the session's end belongs to it
    return {who: seconds - before[who] for who, seconds in now().items()}


def _who(gateway: Gateway, process: str) -> str:
    return f"{gateway.name}: {process}" if process else gateway.name
