"""The session machine (being built: it passes every byte for now; the signatures are final)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from usp.sftp.records import Record

Bytes: TypeAlias = bytes | bytearray | memoryview


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


class Relay:
    def from_inbound(self, data: Bytes) -> Step:
        """Bytes from the partner."""
        return Step((data,), (), (), None)

    def from_outbound(self, data: Bytes) -> Step:
        """Bytes from the target."""
        return Step((), (data,), (), None)

    def inbound_eof(self) -> Step:
        """The partner will send no more; a Close when it stopped in the middle of a packet."""
        return Step((), (), (), None)

    def finish(self) -> Sequence[Record]:
        """The session is over: what was still open or unanswered. Nothing may be fed after it."""
        return ()
