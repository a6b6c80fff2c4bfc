"""PROXY headers as balancers write them, and as nobody should."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.server.proxy import LOCAL, MAX_LENGTH, V2, Bad, Header, begins, header, parse

SSH = b"SSH-2.0-partner\r\n"


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return V2 + bytes([command, family]) + (len(body) if length is None else length).to_bytes(2) + body


def addresses(source: str, target: str, port: int) -> bytes:
    packed = b"".join(ipaddress.ip_address(each).packed for each in (source, target))
    return packed + port.to_bytes(2) + (22).to_bytes(2)


TCP4 = v2(0x21, 0x11, addresses("192.0.2.7", "198.51.100.1", 4711))
TCP6 = v2(0x21, 0x21, addresses("2001:db8::7", "2001:db8::1", 4711) + b"\x04\x00\x03abc")  # with a TLV

WHOLE: list[tuple[bytes, tuple[str, int] | None]] = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n", ("192.0.2.7", 4711)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", ("2001:db8::7", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 22\r\n", ("192.0.2.7", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f::f ffff:f::f 65535 65535\r\n", None),
    (TCP4, ("192.0.2.7", 4711)),
    (TCP6, ("2001:db8::7", 4711)),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, addresses("192.0.2.7", "198.51.100.1", 4711)), None),
    (v2(0x21, 0x00, b"x" * 9), None),
]


@pytest.mark.parametrize(("header", "source"), WHOLE)
def test_a_header(header: bytes, source: tuple[str, int] | None) -> None:
    assert parse(header + SSH) == Header(len(header), source)
    for end in range(len(header)):
        assert parse(header[:end]) is None


def test_what_looks_like_a_header() -> None:
    assert all(begins(data) for data, _ in WHOLE)
    assert not any(map(begins, (b"", SSH, b"PROX", V2[:-1])))


def test_what_is_written() -> None:
    assert header(("192.0.2.7", 4711), ("198.51.100.1", 22)) == TCP4
    assert header(("2001:db8::7", 4711), ("2001:db8::1", 22)) == TCP6[:14] + b"\0\x24" + TCP6[16:-6], "no TLV"
    mixed = header(("192.0.2.7", 4711), ("2001:db8::1", 22))
    assert mixed == v2(0x21, 0x21, addresses("::ffff:192.0.2.7", "2001:db8::1", 4711))
    assert parse(mixed) == Header(len(mixed), ("192.0.2.7", 4711))
    assert parse(LOCAL + SSH) == Header(len(LOCAL), None)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535))
def test_what_is_written_is_read(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    destination: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
) -> None:
    written = header((str(source), port), (str(destination), 22))
    plain = getattr(source, "ipv4_mapped", None) or source
    assert parse(written + SSH) == Header(len(written), (str(plain), port))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SSH, "no PROXY header but SSH"),
        (b"GET / HTTP/1.1", "no PROXY header"),
        (b"PROXX", "no PROXY header"),
        (b"PROXY " + b"1" * 110, "longer than 107 bytes"),
        (b"PROXY " + b"1" * 110 + b"\r\n", "longer than 107 bytes"),
        (b"PROXY TCP4 192.0.2.7  198.51.100.1 4711 22\r\n", "cannot be read"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 22\r\n", "cannot be read"),
        (b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 22\r\n", "cannot be read"),
        (b"PROXY UNKNOWNS\r\n", "cannot be read"),
        (b"PROXY TCP4 192.0.2.777 198.51.100.1 4711 22\r\n", "address that is none"),
        (b"PROXY TCP4 ::1 ::1 4711 22\r\n", "does not fit"),
        (b"PROXY TCP6 ::1 198.51.100.1 4711 22\r\n", "does not fit"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 22\r\n", "does not fit"),
        (v2(0x31, 0x11, b""), "version and command 0x31"),
        (v2(0x22, 0x11, b""), "version and command 0x22"),
        (v2(0x21, 0x11, b"", 600), "longer than 536 bytes"),
        (v2(0x21, 0x12, addresses("192.0.2.7", "198.51.100.1", 1)), "another protocol"),
        (v2(0x21, 0x31, b"x" * 216), "another protocol"),
        (v2(0x21, 0x21, addresses("192.0.2.7", "198.51.100.1", 1)), "too short"),
    ],
)
def test_no_header(data: bytes, reason: str) -> None:
    found = parse(data)
    assert isinstance(found, Bad)
    assert reason in found.reason


@given(st.one_of(st.binary(), st.binary().map(V2.__add__), st.binary().map(b"PROXY TCP4 ".__add__)))
def test_anything_is_answered(data: bytes) -> None:
    found = parse(data)
    if isinstance(found, Header):
        assert found.length <= len(data)
    if found is None:
        assert len(data) < MAX_LENGTH


@given(st.sampled_from(WHOLE), st.integers(0, 60), st.integers(0, 255))
def test_a_byte_that_changed_is_never_taken_for_more(
    whole: tuple[bytes, tuple[str, int] | None], at: int, value: int
) -> None:
    data = bytearray(whole[0] + SSH)
    data[at % len(data)] = value
    found = parse(bytes(data))
    if isinstance(found, Header) and found.source:
        ipaddress.ip_address(found.source[0])
        assert 0 <= found.source[1] <= 65535
