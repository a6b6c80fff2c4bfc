"""PROXY protocol: whom a load balancer speaks for (versions 1 and 2), and whom we speak for (version 2). Pure.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt (sections 2.1 and 2.2). `parse` takes what has
arrived so far. As soon as it cannot become a header any more it is `Bad`, so that nobody is waited for in vain. TLVs
are skipped. `header` writes one that says a partner's address; `LOCAL` says that we speak for ourselves.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

MAX_V1: Final = 107
MAX_LENGTH: Final = 536
"""Bytes of the longest header that is taken: version 2 with the largest addresses (216) and room for TLVs."""
V1: Final = b"PROXY "
V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"

_LINE: Final = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
_ADDRESSES: Final = {0x11: 4, 0x21: 16}  # TCP over IPv4 and IPv6 -> bytes of one address
_UNSPECIFIED: Final = 0x00
_FIXED: Final = 16  # bytes of a version 2 header before the addresses
_LOCAL, _PROXY = 0x20, 0x21

LOCAL: Final = V2 + bytes([_LOCAL, _UNSPECIFIED, 0, 0])
"""A header of our own: nobody stands behind this connection. A health check sends it."""

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header of `length` bytes. `source`: the partner's address and port; None: the balancer speaks for itself
    (a health check)."""

    length: int
    source: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Bad:
    """No header; `reason` says why in plain words."""

    reason: str


def parse(data: bytes) -> Header | Bad | None:
    """What `data` begins with; None: not enough to tell."""
    if data.startswith(V2):
        return _version_2(data)
    if data.startswith(V1):
        return _version_1(data)
    if V2.startswith(data) or V1.startswith(data):
        return None
    return Bad("it sent no PROXY header" + (" but SSH" if data.startswith(b"SSH-") else ""))


def header(source: Endpoint, destination: Endpoint) -> bytes:
    """Version 2: the partner at `source` connected to our address `destination`.

    Both are of one family (2.2): where one is IPv6, an IPv4 address is mapped into it.
    """
    addresses = [ipaddress.ip_address(host) for host, _ in (source, destination)]
    four = all(address.version == 4 for address in addresses)
    packed = b"".join(address.packed if four else _mapped(address) for address in addresses)
    ports = b"".join(port.to_bytes(2) for _, port in (source, destination))
    body = packed + ports
    return V2 + bytes([_PROXY, 0x11 if four else 0x21]) + len(body).to_bytes(2) + body


def begins(data: bytes) -> bool:
    """Whether it looks as if a balancer had written it."""
    return data.startswith((V1, V2))


def _version_1(data: bytes) -> Header | Bad | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        return None if len(data) < MAX_V1 else Bad(f"its PROXY line is longer than {MAX_V1} bytes")
    line = data[: end + 2]
    if line.startswith(b"PROXY UNKNOWN") and line[13:14] in b" \r":
        return Header(len(line), None)
    match = _LINE.fullmatch(line)
    if match is None:
        return Bad("its PROXY line cannot be read")
    version, source, target, *ports = (text.decode() for text in match.groups())
    try:
        addresses = [ipaddress.ip_address(text) for text in (source, target)]
    except ValueError:
        return Bad("its PROXY line has an address that is none")
    if any(str(address.version) != version for address in addresses) or any(int(port) > 65535 for port in ports):
        return Bad("its PROXY line has an address or port that does not fit")
    return Header(len(line), (_plain(addresses[0]), int(ports[0])))


def _version_2(data: bytes) -> Header | Bad | None:
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    length = _FIXED + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        return Bad(f"its PROXY header has version and command {command:#04x}, which are not known")
    if length > MAX_LENGTH:
        return Bad(f"its PROXY header is longer than {MAX_LENGTH} bytes")
    if command == _PROXY and family != _UNSPECIFIED:
        size = _ADDRESSES.get(family)
        if size is None:
            return Bad(f"its PROXY header is about another protocol than TCP over IP ({family:#04x})")
        if length < _FIXED + 2 * size + 4:
            return Bad("its PROXY header is too short for its addresses")
    if len(data) < length:
        return None
    if command == _LOCAL or family == _UNSPECIFIED:
        return Header(length, None)
    size = _ADDRESSES[family]
    ports = _FIXED + 2 * size
    address = ipaddress.ip_address(data[_FIXED : _FIXED + size])
    return Header(length, (_plain(address), int.from_bytes(data[ports : ports + 2])))


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 address that comes mapped into IPv6 is the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
