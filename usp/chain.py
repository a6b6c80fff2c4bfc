"""The hash chain of a server's audit lines: what is changed, removed, inserted or reordered in it shows.

Each line ends with the server's name, the chain, the line's number in it, and a hash (SHA-256) over the hash of the
line before and this line without its hash:

    {"time":...,"event":"login",...,"server":"dmz-1","chain":"5d0c...","seq":12,"hash":"9b1c..."}

There is no secret in it: who can write the file could write a whole new chain. What such a one cannot do is to change
the copies that managers and syslog have by then, so the two do not fit any more. And the end of a chain can be cut off
without a trace in what is left: only a copy knows how far it went.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

FIRST: Final = ""
"""The hash before the first line."""
STOPPED: Final = "audit.stopped"
"""The event that a server ends with in an orderly way."""

_TAIL: Final = re.compile(
    rb',"server":"([^"\\]*)","chain":"([0-9a-f]{16})","seq":([1-9]\d{0,17}),"hash":"([0-9a-f]{64})"\}$'
)
_HASH: Final = len(b',"hash":""}') + 64


@dataclass(frozen=True, slots=True)
class Link:
    """A line's place in its chain. `seq` 0: before the first."""

    server: str
    chain: str
    seq: int = 0
    hash: str = FIRST


def read(line: bytes) -> Link | None:
    """Where the line stands, as it says; None if it says nothing."""
    found = _TAIL.search(line)
    if found is None:
        return None
    server, chain, seq, hash = found.groups()
    return Link(server.decode("utf-8", "replace"), chain.decode(), int(seq), hash.decode())


class Chain:
    """Links lines, one after the other."""

    def __init__(self, last: Link) -> None:
        self.last = last

    def link(self, line: str) -> bytes:
        """`line`, a JSON object with at least one field, with its place in the chain."""
        last = self.last
        seq = last.seq + 1
        body = f'{line[:-1]},"server":"{last.server}","chain":"{last.chain}","seq":{seq}'.encode(
            "utf-8", "backslashreplace"
        )
        hash = _hash(last.hash, body)
        self.last = Link(last.server, last.chain, seq, hash)
        return body + f',"hash":"{hash}"}}'.encode()


class Checker:
    """Takes lines in the order in which they were written; each answer says what is wrong with the line, or nothing.
    What is not wrong, but worth knowing, is in `notes`."""

    def __init__(self) -> None:
        self.lines = 0
        self.notes: list[str] = []
        self.last: dict[str, Link] = {}
        self._stopped: dict[str, bool] = {}
        self._current = ""

    def check(self, line: bytes) -> str:
        """ "": it is as it was written."""
        self.lines += 1
        link = read(line)
        if link is None:
            return "this is no line of an audit log: it was changed, or is damaged"
        before = self.last.get(link.chain)
        wrong = self._begins(link, line) if before is None else _follows(before, link, line)
        self.last[link.chain] = link
        self._stopped[link.chain] = f'"event":"{STOPPED}"'.encode() in line
        self._current = link.chain
        return wrong

    def _begins(self, link: Link, line: bytes) -> str:
        if self._current and not self._stopped[self._current]:
            ended = self.last[self._current]
            why = "the server was killed, or lines are missing at its end"
            self.notes.append(f"chain {ended.chain} ends with seq {ended.seq}, without {STOPPED}: {why}")
        if link.seq > 1:
            self.notes.append(f"chain {link.chain} is known from seq {link.seq} on: what was before is not checked")
            return ""
        self.notes.append(f"chain {link.chain} begins")
        return _fits(FIRST, link, line)


def _follows(before: Link, link: Link, line: bytes) -> str:
    if link.seq > before.seq + 1:
        missing = link.seq - before.seq - 1
        which = f"seq {before.seq + 1}" + (f" to {link.seq - 1}" if missing > 1 else "")
        return f"{'a line is' if missing == 1 else f'{missing} lines are'} missing before it ({which})"
    if link.seq <= before.seq:
        return f"seq {link.seq} comes after seq {before.seq}: lines were repeated, or put in another order"
    return _fits(before.hash, link, line)


def _fits(previous: str, link: Link, line: bytes) -> str:
    if _hash(previous, line[:-_HASH]) == link.hash:
        return ""
    return (
        "its hash fits neither it nor the line before it: one of the two was changed"
        if previous
        else ("its hash does not fit it: it was changed")
    )


def _hash(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + body).hexdigest()
