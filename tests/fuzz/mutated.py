"""Real conversations, with packets changed at random, through framing, packets, relay and quarantine.

Whatever comes in from either side: nothing raises, nothing grows, and what goes out to either side is such that a
strict reader (`strict`, which shares no code with the product) finds nothing wrong with it. The conversations are
recorded from OpenSSH's sftp and lftp (`corpus`); the target answers what it really got, well or badly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.strict import Answers, Requests
from usp.policy import Access, OpClass, PathRule, Policy
from usp.scan import Finding, Scan, Verdict
from usp.sftp.policy import Compiled
from usp.sftp.quarantine import Flow, Quarantine
from usp.sftp.relay import Relay
from usp.sftp.root import Root
from usp.sftp.steps import Limits
from usp.sftp.wire import Bytes

CORPUS = Path(__file__).parent / "corpus"
LIMITS = Limits(packet=64 * 1024, requests=32, handles=8)

POLICY = Compiled(
    Policy(
        deny=(OpClass.RMDIR,),
        paths=(PathRule(path="/etc/**", access=Access.DENY), PathRule(path="~/x*", access=Access.DENY)),
        forbidden_names=("*.exe",),
        max_file_size=1 << 20,
        max_open_handles=4,
    )
)
SCAN = Scan(url="icap://scanner/av", max_size=1 << 16, exclude=("*.csv",))
NUMBERS = [0, 1, 2, 3, 4, 255, 256, 257, 65535, 2**31 - 1, 2**31, 2**32 - 1]
STRINGS = [
    b"",
    b".",
    b"/",
    b"..",
    b"/../a",
    b"a//b/./../c",
    b"\0",
    b"a\0b",
    b"~",
    b"~/x",
    b".usp-scan-1",
    b"/etc/x",
    b"a" * 300,
]


def recorded(name: str) -> list[bytes]:
    """What the partner sent, packet by packet, without its INIT."""
    lines = (CORPUS / name).read_text().splitlines()
    return [bytes.fromhex(line.split(" ")[1]) for line in lines if line.startswith("partner ")][1:]


def answers(name: str) -> dict[int, list[bytes]]:
    """What the target answered, by type."""
    found: dict[int, list[bytes]] = {}
    for line in (CORPUS / name).read_text().splitlines():
        side, _, text = line.partition(" ")
        if side == "target":
            packet = bytes.fromhex(text)
            found.setdefault(packet[4], []).append(packet)
    return found


NAMES = sorted(path.name for path in CORPUS.glob("*.txt"))
SENT = [recorded(name) for name in NAMES]
ALL = [packet for packets in SENT for packet in packets]
ANSWERED: dict[int, list[bytes]] = {}
for each in NAMES:
    for kind, packets in answers(each).items():
        ANSWERED.setdefault(kind, []).extend(packets)
INIT = bytes.fromhex("00000005 01 00000003")


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def mutated(rng: random.Random, packet: bytes) -> bytes:
    """Another packet: most of them with a length that fits, as a length that does not ends the conversation."""
    body = bytearray(packet[4:])
    at = rng.randrange(len(body))
    how = rng.randrange(10)
    if how == 0:
        body[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        body[at : at + 4] = rng.choice(NUMBERS).to_bytes(4, "big")
    elif how == 2:
        del body[max(1, at) :]
    elif how == 3:
        body += rng.randbytes(rng.randrange(1, 40))
    elif how == 4:
        body[0] = rng.choice([*range(1, 24), *range(100, 107), 200, 201])
    elif how == 5 and len(body) > 9:
        text = rng.choice(STRINGS)  # in place of the first string
        size = int.from_bytes(body[5:9], "big")
        body[5 : 9 + size] = len(text).to_bytes(4, "big") + text
    elif how == 6:
        other = rng.choice(ALL)[4:]
        body[at:] = other[at:] or b"\0"
    elif how == 7:
        body[at:at] = rng.randbytes(rng.randrange(1, 9))
    elif how == 8 and len(body) > 5:
        body[1:5] = rng.randrange(4).to_bytes(4, "big")  # the id
    else:
        return rng.choice(NUMBERS).to_bytes(4, "big") + bytes(body)
    return framed(bytes(body))


class Played:
    """One conversation: the machine under test, and a strict reader at either end."""

    def __init__(self, rng: random.Random, screened: bool, relay: Relay) -> None:
        self.rng = rng
        self.relay = relay
        self.quarantine = Quarantine(SCAN, lambda: f"{rng.randrange(1 << 32):x}", LIMITS.packet) if screened else None
        self.target, self.partner = Requests(), Answers()
        self.closed = False
        self.scans: set[int] = set()
        self.handles = 0
        self._greeted = False

    def from_partner(self, data: bytes) -> None:
        for piece in self.cut(data):
            step = self.relay.from_inbound(piece)
            self.out(step.to_outbound, step.to_inbound)
            self.closed |= step.close is not None

    def from_target(self, data: bytes) -> None:
        for piece in self.cut(data):
            if self.quarantine:
                self.flow(self.quarantine.from_target(piece))
            else:
                self.to_relay(piece)

    def cut(self, data: bytes) -> list[Bytes]:
        if self.rng.random() < 0.7:
            return [data]
        at = self.rng.randrange(len(data) + 1)
        return [data[:at], memoryview(data)[at:]]

    def to_relay(self, data: Bytes) -> None:
        step = self.relay.from_outbound(data)
        self.out(step.to_outbound, step.to_inbound)
        self.closed |= step.close is not None

    def out(self, to_target: Sequence[Bytes], to_partner: Sequence[Bytes]) -> None:
        if self.quarantine:
            self.flow(self.quarantine.from_relay(to_target))
        else:
            self.target.feed(b"".join(map(bytes, to_target)))
        self.partner.feed(b"".join(map(bytes, to_partner)))

    def flow(self, flow: Flow) -> None:
        self.target.feed(b"".join(map(bytes, flow.to_target)))
        self.closed |= bool(flow.wrong)
        for order in flow.orders:
            (self.scans.discard if type(order).__name__ == "Drop" else self.scans.add)(order.number)
        for piece in flow.to_relay:
            self.to_relay(piece)

    def judge(self) -> None:
        """The scanner has a word, too."""
        if self.quarantine and self.scans:
            number = self.rng.choice(sorted(self.scans))
            if self.rng.random() < 0.5:
                self.flow(self.quarantine.more(number))
            else:
                self.scans.discard(number)
                finding = self.rng.choice([Finding.CLEAN, Finding.INFECTED, Finding.FAILED])
                self.flow(self.quarantine.judged(number, Verdict(finding)))

    def answer(self) -> bytes | None:
        """What a target says to one of the requests that are open; the first is for INIT."""
        if not self._greeted:
            self._greeted = True
            return self.rng.choice(ANSWERED[2])
        if not self.target.open:
            return None
        request_id = self.rng.choice(list(self.target.open))
        request = self.target.open.pop(request_id)
        kind = {3: 102, 11: 102, 5: 103, 12: 104, 16: 104, 19: 104, 7: 105, 8: 105, 17: 105}.get(request[0], 101)
        if request[0] == 200 and b"limits@" in request:
            kind = 201
        if kind == 102:
            self.handles += 1
            return framed(b"\x66" + request_id.to_bytes(4, "big") + b"\0\0\0\4" + (self.handles - 1).to_bytes(4, "big"))
        if kind != 101 and (self.rng.random() < 0.2 or kind not in ANSWERED):
            kind = 101
        packet = self.rng.choice(ANSWERED[kind])
        return packet[:5] + request_id.to_bytes(4, "big") + packet[9:]

    def check_bounds(self) -> None:
        relay = self.relay
        assert len(relay._asked) <= LIMITS.requests
        assert len(relay._handles) <= LIMITS.handles
        for framer in (relay._inbound, relay._outbound):
            assert len(framer._head) <= LIMITS.packet + 4


def conversation(rng: random.Random) -> int:
    """Play one; how many of its packets were mutated."""
    policy = POLICY if rng.random() < 0.5 else None
    relay = Relay(policy, LIMITS, Root(b"/partners/acme") if rng.random() < 0.3 else None)
    played = Played(rng, rng.random() < 0.5, relay)
    packets = rng.choice(SENT)
    start = rng.randrange(len(packets))
    hot = rng.choice([0.1, 0.3, 0.6])
    count = 0
    played.from_partner(INIT)
    for packet in packets[start : start + 30]:
        if played.closed:
            break
        if rng.random() < 0.3 and played.handles and packet[4] in (4, 5, 6, 8, 10, 12):
            packet = with_handle(packet, rng.randrange(played.handles))
        if rng.random() < hot:
            packet, count = mutated(rng, packet), count + 1
        played.partner.asked(packet)
        played.from_partner(packet)
        while not played.closed and rng.random() < 0.7 and (said := played.answer()):
            if rng.random() < hot / 3:
                said, count = mutated(rng, said), count + 1
                played.target.open.pop(int.from_bytes(said[5:9], "big"), None)  # it may answer another request now
            played.from_target(said)
        played.judge()
    played.check_bounds()
    played.relay.inbound_eof()
    if played.quarantine and not played.closed:
        played.flow(played.quarantine.abandon())
        played.quarantine.finish()
    played.relay.finish()
    return count


def with_handle(packet: bytes, number: int) -> bytes:
    """Of those that the target gave."""
    size = int.from_bytes(packet[9:13], "big")
    return framed(packet[4:9] + b"\0\0\0\4" + number.to_bytes(4, "big") + packet[13 + size :])
