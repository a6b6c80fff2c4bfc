"""What a relay is bounded by, and what it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from usp.sftp.records import Record
from usp.sftp.wire import Bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may hold here. The packet's size is OpenSSH's; clients keep 64 requests open, some a few 100."""

    packet: int = 256 * 1024
    requests: int = 2048
    handles: int = 2048
    path: int = 4096


@dataclass(frozen=True, slots=True)
class Close:
    """The session must end: `side` broke the protocol or a limit. `outcome` is a word of `usp.status.Outcome`."""

    outcome: Literal["protocol_error", "limit"]
    side: Literal["partner", "target"]
    reason: str


class Step(NamedTuple):
    """What to do now, in this order: write, log, close. The buffers may be views of what was fed: write them first."""

    to_outbound: Sequence[Bytes]
    to_inbound: Sequence[Bytes]
    records: Sequence[Record]
    close: Close | None
