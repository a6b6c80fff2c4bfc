"""Conversations for property tests: a partner that tries everything, and a target that answers well, in any order.

Whatever must not reach the target carries `SECRET`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.unit.sftp.playbook import cut, encode
from usp.sftp import packets
from usp.sftp.packets import Request
from usp.sftp.policy import Allow, AllowAll, Context, Decision, Deny
from usp.sftp.relay import Relay
from usp.sftp.wire import Bytes, packet, string, u32

SECRET = b"SECRET"


class NoSecrets(AllowAll):
    def decide(self, request: Request, context: Context, /) -> Decision:
        return Deny() if any(SECRET in path for path in request.paths) else Allow()


REQUESTS = st.sampled_from(
    [
        "OPEN {} /a 0x1 -",
        "OPEN {} a/../b/ 0x1a 0o600",
        "OPEN {} /SECRET 0x1 -",
        "OPEN {} SECRET\\x00 0x1 -",
        "OPENDIR {} .",
        "OPENDIR {} /x/../SECRET",
        "READ {} h1 0 100",
        "READ {} h2 0 4294967295",
        "READ {} nohandleSECRET 0 1",
        "WRITE {} h1 0 data",
        "WRITE {} h2 0 " + "x" * 900,
        "WRITE {} nohandle 0 SECRET" + "x" * 900,
        "CLOSE {} h1",
        "CLOSE {} h2",
        "FSTAT {} h1",
        "READDIR {} h2",
        "STAT {} .",
        "REMOVE {} /SECRET/",
        "REMOVE {} /a ff",
        "RENAME {} a b",
        "RENAME {} a b/SECRET",
        "SYMLINK {} SECRET l",
        "MKDIR {} /d 0o700",
        "BLOCK {} SECRET 0 1 0",
        "EXTENDED {} evil@SECRET x",
        "EXTENDED {} limits@openssh.com",
        "EXTENDED {} posix-rename@openssh.com a b",
        "EXTENDED {} copy-data h1 0 0 h2 0",
    ]
)
TURNS = st.lists(st.one_of(REQUESTS, st.integers(0, 99)), max_size=30)
CUTS = st.lists(st.integers(1, 60), max_size=40)


@dataclass
class Target:
    """Answers what it got; `answer(n)` picks the n-th open request."""

    open: list[bytes] = field(default_factory=list)
    handles: int = 0

    def answer(self, pick: int) -> bytes:
        request = self.open.pop(pick % len(self.open))
        kind, request_id = request[4], request[5:9]
        match kind:
            case 3 | 11:
                self.handles += 1
                return packet(102, request_id, string(b"h%d" % self.handles))
            case 5:
                return packet(103, request_id, string(b"d" * min(pick * 20, int.from_bytes(request[-4:], "big"))))
            case 7 | 8 | 17:
                return packet(105, request_id, u32(0))
            case 12 | 16 | 19:
                return packet(104, request_id, u32(1), string(b"n"), string(b""), u32(0))
            case 200 if b"limits@" in request:
                return packet(201, request_id, bytes(32))
        return packets.status(int.from_bytes(request_id, "big"), pick % 3, "")


@dataclass
class Played:
    to_target: bytes = b""
    to_partner: bytes = b""
    records: list[object] = field(default_factory=list)
    asked: int = 0

    def replies(self) -> Counter[int]:
        """How many replies each request id got."""
        return Counter(int.from_bytes(reply[5:9], "big") for reply in cut(self.to_partner)[1:])


def play(turns: list[str | int], cuts: list[int] | None = None) -> Played:
    """Play it, cut as `cuts` say (None: whole packets)."""
    relay, target, played = Relay(NoSecrets()), Target(), Played()
    sizes = list(cuts or ())

    def turn(side: str, data: bytes) -> None:
        before = len(played.to_target)
        feed = relay.from_inbound if side == "partner" else relay.from_outbound
        while data:
            size = len(data) if cuts is None or not sizes else sizes[0]
            if sizes:
                sizes.append(sizes.pop(0))
            chunk, data = data[:size], data[size:]
            step = feed(chunk)
            assert step.close is None, step.close
            played.to_target += joined(step.to_outbound)
            played.to_partner += joined(step.to_inbound)
            played.records += step.records
        target.open += [packet for packet in cut(played.to_target[before:]) if packet[4] != 1]

    turn("partner", packets.init(6))
    turn("target", packets.version(3))
    for what in turns:
        if isinstance(what, str):
            played.asked += 1
            turn("partner", encode(what.format(played.asked)))
        elif target.open:
            turn("target", target.answer(what))
    while target.open:
        turn("target", target.answer(0))
    played.records += relay.finish()
    return played


def joined(chunks: object) -> bytes:
    return b"".join(bytes(chunk) for chunk in chunks)  # type: ignore[attr-defined]


def feed_all(relay: Relay, chunks: list[tuple[bool, Bytes]]) -> None:
    """Whatever it is: no exception, and silence after a Close."""
    closed = None
    for from_partner, chunk in chunks:
        step = relay.from_inbound(chunk) if from_partner else relay.from_outbound(chunk)
        if closed:
            assert step == ((), (), (), closed)
        closed = step.close
    relay.inbound_eof()
    relay.finish()
