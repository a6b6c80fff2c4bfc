"""The allow list of a USP Client: what it dials when its USP Server asks. Whatever is not listed is refused.

An entry is `WHERE:PORT`. PORT is a number, or `*` for every port. WHERE is an IP address or a network in canonical form
(IPv6 in brackets: `[2001:db8::/32]:22`), or a host name. A network permits what is asked for by any name, as long as
the address that the name has *here* lies in it; a name permits that very name, wherever it leads. What is permitted are
addresses, and only these are dialled: check and use cannot differ, whatever the DNS says a moment later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from usp.errors import Problem, UspError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMERIC: Final = re.compile(r"[0-9./]+|.*:.*")


@dataclass(frozen=True, slots=True)
class Permit:
    """Dial one of these, in that order of preference, and nothing else."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    reason: str


@dataclass(frozen=True, slots=True)
class _Entry:
    where: Network | str
    port: int | None

    def covers(self, host: str, address: Address, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if isinstance(self.where, str):
            return host == self.where
        return address.version == self.where.version and address in self.where


@dataclass(frozen=True, slots=True)
class AllowList:
    entries: tuple[_Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowList:
        """Read the entries of the configuration file. Raises UspError with one problem per wrong entry."""
        problems = []
        made = []
        for index, text in enumerate(entries):
            try:
                made.append(_parse(text))
            except ValueError as error:
                problems.append(Problem(("allow", index), str(error)))
        if problems:
            raise UspError("settings.invalid", problems=problems)
        return cls(tuple(made))

    def decide(self, host: str, port: int, resolved: Sequence[str]) -> Permit | Deny:
        """Which of the addresses that `host` has may be dialled at `port`."""
        name = _normal(host)
        addresses = dict.fromkeys(_address(text) for text in resolved)
        permitted = [a for a in addresses if any(entry.covers(name, a, port) for entry in self.entries)]
        if not permitted:
            return Deny(f"{host}:{port} is not on the allow list")
        return Permit(tuple(str(address) for address in permitted))

    def could_permit(self, host: str, port: int) -> bool:
        """Whether it is worth resolving `host`: False means that no answer of the DNS could make it permitted."""
        name = _normal(host)
        return any(
            entry.port in (None, port) and (not isinstance(entry.where, str) or entry.where == name)
            for entry in self.entries
        )


def _parse(text: str) -> _Entry:
    where, colon, port = text.rpartition(":")
    if not colon or not where:
        raise ValueError(f"{text!r} is not WHERE:PORT, such as 10.0.0.0/8:22 or sftp.internal:22")
    return _Entry(_where(where), _port(port))


def _port(text: str) -> int | None:
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError(f"{text!r} is not a port: write a number from 1 to 65535, or * for every port")
    return int(text)


def _where(text: str) -> Network | str:
    bracketed = text.startswith("[") and text.endswith("]")
    inner = text[1:-1] if bracketed else text
    if not bracketed and not _NUMERIC.fullmatch(inner):
        name = _normal(inner)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{text!r} is not a host name, an IP address or a network")
        return name
    if ":" in inner and not bracketed:
        raise ValueError(f"write IPv6 in brackets: [{inner}]")
    try:
        return ipaddress.ip_network(inner, strict=True)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IP address or a canonical network: {error}") from None


def _normal(name: str) -> str:
    return name.lower().removesuffix(".")


def _address(text: str) -> Address:
    """An IPv4 address in IPv6 clothes is that IPv4 address: the lists for IPv4 hold for it."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
