"""SFTP version 3 as a suspicious peer reads it, written apart from the product: what is wrong with a stream?

`Requests` reads what goes to a target, `Answers` what goes to a partner. Both raise `Wrong` for the first thing that a
strict implementation could choke on. A packet that the stream ends in is not judged: its reader never acts on it.
"""

from __future__ import annotations

from collections import Counter

LONGEST = 256 * 1024
PATH_MAX = 4096 + 1000
"""With what a virtual root or a temporary name adds."""

# p path, s string, h handle, i uint32, q uint64, a attributes, d data
REQUESTS = {
    3: "pia",
    4: "h",
    5: "hqi",
    6: "hqd",
    7: "p",
    8: "h",
    9: "pa",
    10: "ha",
    11: "p",
    12: "h",
    13: "p",
    14: "pa",
}
REQUESTS |= {15: "p", 16: "p", 17: "p", 18: "pp", 19: "p", 20: "pp"}
EXTENDED = {
    b"limits@openssh.com": ("", 201),
    b"statvfs@openssh.com": ("p", 201),
    b"fstatvfs@openssh.com": ("h", 201),
    b"posix-rename@openssh.com": ("pp", 101),
    b"hardlink@openssh.com": ("pp", 101),
    b"fsync@openssh.com": ("h", 101),
    b"lsetstat@openssh.com": ("pa", 101),
    b"expand-path@openssh.com": ("p", 104),
    b"copy-data": ("hqqhq", 101),
    b"home-directory": ("s", 104),
    b"users-groups-by-id@openssh.com": ("ss", 201),
}
ANSWER_TO = {3: 102, 11: 102, 5: 103, 12: 104, 16: 104, 19: 104, 7: 105, 8: 105, 17: 105}
"""By the request's type; else STATUS."""
ANSWERS = {101: "iss", 102: "h", 103: "d", 105: "a"}


class Wrong(Exception):  # noqa: N818
    pass


class _Fields:
    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.body):
            raise Wrong(f"shorter than it says: {self.body[:80].hex()}")
        self.at += size
        return self.body[self.at - size : self.at]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def read(self, layout: str) -> None:
        for letter in layout:
            if letter in "iq":
                self.number(4 if letter == "i" else 8)
            elif letter == "a":
                self._attributes()
            else:
                self._text(letter)
        if self.at != len(self.body):
            raise Wrong(f"{len(self.body) - self.at} bytes too many: {self.body[:80].hex()}")

    def _text(self, letter: str) -> None:
        text = self.take(self.number())
        if letter == "h" and len(text) > 256:
            raise Wrong("a handle that is too long")
        if letter == "p":
            if b"\0" in text or not text or len(text) > PATH_MAX:
                raise Wrong(f"no path: {text[:80]!r}")
            parts = text.split(b"/")
            if b"//" in text or b"." in parts[1:] or (text.startswith(b"/") and b".." in parts):
                raise Wrong(f"not in normal form: {text[:80]!r}")

    def _attributes(self) -> None:
        flags = self.number()
        if flags & ~0x8000000F:
            raise Wrong(f"flags of attributes: {flags:#x}")
        self.take(8 * bool(flags & 1) + 8 * bool(flags & 2) + 4 * bool(flags & 4) + 8 * bool(flags & 8))
        for _ in range(2 * self.number() if flags & 0x80000000 else 0):
            self.take(self.number())

    def names(self) -> None:
        for _ in range(self.number()):
            self.take(self.number())
            self.take(self.number())
            self._attributes()
        self.read("")


class _Stream:
    def __init__(self) -> None:
        self._left = b""
        self._first = True

    def feed(self, data: bytes) -> None:
        self._left += data
        while len(self._left) >= 4:
            length = int.from_bytes(self._left[:4], "big")
            if not 0 < length <= LONGEST:
                raise Wrong(f"a packet of {length} bytes")
            if len(self._left) < 4 + length:
                return
            body, self._left = self._left[4 : 4 + length], self._left[4 + length :]
            if self._first:
                self._first = False
                self.greeting(body)
            else:
                self.packet(body)

    def greeting(self, body: bytes) -> None:
        raise NotImplementedError

    def packet(self, body: bytes) -> None:
        raise NotImplementedError


class Requests(_Stream):
    """`open`: ids that the target has not answered; whoever answers takes them out."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, bytes] = {}

    def greeting(self, body: bytes) -> None:
        if body != b"\x01\0\0\0\x03":
            raise Wrong(f"INIT: {body[:40].hex()}")

    def packet(self, body: bytes) -> None:
        fields = _Fields(body, 1)
        request_id = fields.number()
        if request_id in self.open:
            raise Wrong(f"id {request_id} is open")
        self.open[request_id] = body
        if body[0] == 200:
            name = fields.take(fields.number())
            if name not in EXTENDED:
                raise Wrong(f"extension {name!r}")
            fields.read(EXTENDED[name][0])
        elif body[0] in REQUESTS:
            fields.read(REQUESTS[body[0]])
        else:
            raise Wrong(f"a request of type {body[0]}")


class Answers(_Stream):
    """`asked` hears of what the partner sent, good or bad: each packet may have one answer, of its type or STATUS."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = b""
        self._asked: Counter[int] = Counter()
        self._kinds: dict[int, set[int]] = {}

    def asked(self, data: bytes) -> None:
        self._heard += data
        while len(self._heard) >= 4 and len(self._heard) >= (end := 4 + int.from_bytes(self._heard[:4], "big")):
            self._asked_for(self._heard[:end])
            self._heard = self._heard[end:]

    def _asked_for(self, packet: bytes) -> None:
        if len(packet) < 9:
            return
        request_id = int.from_bytes(packet[5:9], "big")
        self._asked[request_id] += 1
        kind = ANSWER_TO.get(packet[4], 101)
        if packet[4] == 200:
            size = int.from_bytes(packet[9:13], "big")
            kind = EXTENDED.get(packet[13 : 13 + size], ("", 101))[1]
        self._kinds.setdefault(request_id, {101}).add(kind)

    def greeting(self, body: bytes) -> None:
        fields = _Fields(body, 1)
        if body[0] != 2 or fields.number() != 3:
            raise Wrong(f"VERSION: {body[:40].hex()}")
        while fields.at < len(body):
            name = fields.take(fields.number())
            fields.take(fields.number())
            if name not in EXTENDED:
                raise Wrong(f"announces {name!r}")

    def packet(self, body: bytes) -> None:
        kind, fields = body[0], _Fields(body, 1)
        request_id = fields.number()
        self._asked[request_id] -= 1
        if self._asked[request_id] < 0:
            raise Wrong(f"an answer to {request_id}, which nobody asked")
        if kind not in self._kinds[request_id]:
            raise Wrong(f"an answer of type {kind} to {request_id}")
        if kind == 104:
            fields.names()
        elif kind == 201:
            if len(body) < 13:
                raise Wrong("an empty EXTENDED_REPLY")
        else:
            fields.read(ANSWERS[kind])
