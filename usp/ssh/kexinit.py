"""What an SSH server says first: its identification and what it offers (RFC 4253, sections 4.2, 6 and 7.1).

Read without any I/O: bytes in, facts out. Everything in it comes from a stranger and is bounded and made printable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from usp.errors import UspError

MAX_PREFACE: Final = 8192
"""Bytes that may come before the end of the identification; a server may say other lines first."""
MAX_PACKET: Final = 35_000
_DISCONNECT, _IGNORE, _DEBUG, _KEXINIT = 1, 2, 4, 20
PENALISED: Final = b"Not allowed at this time"
"""What OpenSSH says in place of its identification to a source with a penalty (sshd_config, PerSourcePenalties)."""

_COOKIE: Final = 16
_SHOWN: Final = 240
_AEAD: Final = ("gcm@openssh.com", "chacha20-poly1305")
"""Ciphers that need no MAC contain one of these."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Algorithm names, by preference."""

    kex: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]


class Greeting:
    """`identification` is "" and `offer` None until they were read."""

    def __init__(self) -> None:
        self.identification = ""
        self.offer: Offer | None = None
        self.preface = ""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what came. UspError target.refused when that is not what an SSH server says."""
        self._buffer += data
        while not self.identification and (end := self._buffer.find(b"\n")) >= 0:
            self._line(bytes(self._take(end + 1)))
        if not self.identification and len(self._buffer) > MAX_PREFACE:
            raise UspError("target.refused", "it does not speak SSH")
        while self.identification and self.offer is None and (payload := self._packet()) is not None:
            self._message(payload)

    def _line(self, line: bytes) -> None:
        text = printable(line.rstrip(b"\r\n"))
        if line.startswith(PENALISED):
            raise penalised()
        if not line.startswith(b"SSH-"):
            self.preface = self.preface or text
        elif line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
            self.identification = text
        else:
            raise UspError("target.refused", f"it speaks another SSH than 2.0: {text}")

    def _packet(self) -> bytes | None:
        if len(self._buffer) < 5:
            return None
        length, padding = int.from_bytes(self._buffer[:4], "big"), self._buffer[4]
        if not padding + 2 <= length <= MAX_PACKET:
            raise UspError("target.refused", "it does not speak SSH after its identification")
        if len(self._buffer) < 4 + length:
            return None
        return bytes(self._take(4 + length))[5 : 4 + length - padding]

    def _message(self, payload: bytes) -> None:
        if payload[0] == _DISCONNECT:
            raise UspError("target.refused", f"it disconnects: {printable(payload[9:].partition(bytes(4))[0])}")
        if payload[0] == _KEXINIT:
            self.offer = _offer(payload)
        elif payload[0] not in (_IGNORE, _DEBUG):
            raise UspError("target.refused", f"it begins with message {payload[0]}, not with its key exchange offer")

    def _take(self, count: int) -> bytearray:
        taken = self._buffer[:count]
        del self._buffer[:count]
        return taken


def _offer(payload: bytes) -> Offer:
    lists, at = [], 1 + _COOKIE
    for _ in range(6):
        length = int.from_bytes(payload[at : at + 4], "big")
        if at + 4 + length > len(payload):
            raise UspError("target.refused", "its key exchange offer is malformed")
        lists.append(tuple(printable(payload[at + 4 : at + 4 + length], MAX_PACKET).split(",")))
        at += 4 + length
    kex, host_keys, ciphers, from_server, macs, macs_from_server = lists
    return Offer(
        kex,
        host_keys,
        tuple(name for name in ciphers if name in from_server),
        tuple(name for name in macs if name in macs_from_server),
    )


def agreement(ours: Offer, theirs: Offer) -> str:
    """What both would use, in words, but for the host key. UspError target.algorithms when there is something for which
    they have none."""
    kex = _common("key exchange", ours.kex, theirs.kex)
    cipher = _common("cipher", ours.ciphers, theirs.ciphers)
    if any(mark in cipher for mark in _AEAD):
        return f"key exchange {kex}, cipher {cipher}"
    return f"key exchange {kex}, cipher {cipher}, MAC {_common('MAC', ours.macs, theirs.macs)}"


def _common(what: str, ours: Sequence[str], theirs: Sequence[str]) -> str:
    """The client's first that the server has, too."""
    found = next((name for name in ours if name in theirs), None)
    if found is None:
        offered = printable(", ".join(theirs).encode()) or "none"
        raise UspError("target.algorithms", f"no {what} in common: it offers {offered}; permitted: {', '.join(ours)}")
    return found


def printable(data: bytes, most: int = _SHOWN) -> str:
    """Fit to be shown: ASCII, bounded, without what would steer a terminal."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in data[:most])


def penalised() -> UspError:
    """What it means when a target begins with `PENALISED`."""
    why = "OpenSSH penalises this gateway's address after failed logins; exempt it there (PerSourcePenaltyExemptList)"
    return UspError("target.penalised", f"the target says '{PENALISED.decode()}': {why}")
