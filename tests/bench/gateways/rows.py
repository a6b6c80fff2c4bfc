"""What is measured: every row takes a gateway and yields samples."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.gateways import client, many
from tests.bench.gateways.gateway import Gateway
from tests.e2e.suite import random_file, sha256

GIB: Final = 1 << 30
FILES: Final = 2000
FILE_SIZE: Final = 4096


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


ROWS: Final[Mapping[str, Row]] = {"idle": idle, "bytes": bytes_, "logins": logins, "stat": stat, "files": files}

NEED_CPU: Final = frozenset({"logins", "idle"})
"""Rows that have nothing to say about a gateway without processes, that is about going direct."""

ONCE: Final = frozenset({"idle"})
"""Rows with one turn only, and first: later ones would find the memory that the first has left behind."""

WITH_CIPHERS: Final = frozenset({"bytes"})
"""Rows measured with every cipher; the others with the first."""


def _used(before: Mapping[str, float], now: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    time.sleep(0.1)  # the session's end belongs to it
    return {who: seconds - before[who] for who, seconds in now().items()}


def _who(gateway: Gateway, process: str) -> str:
    return f"{gateway.name}: {process}" if process else gateway.name
