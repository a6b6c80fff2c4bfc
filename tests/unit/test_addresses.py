from __future__ import annotations

import pytest

from usp.addresses import bind_address, canonical_cidr


@pytest.mark.parametrize("text", ["192.0.2.7", "192.0.2.7/32", "192.0.2.0/24", "2001:db8::/32", "2001:DB8::1"])
def test_networks_and_addresses(text: str) -> None:
    assert canonical_cidr(text) == text.lower()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("300.0.0.1", "is not an IPv4 or IPv6 address"),
        ("192.0.2.7/24", "host bits are set; write 192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "write 192.0.2.0/24"),
    ],
)
def test_what_is_not_canonical(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        canonical_cidr(text)


def test_where_to_listen() -> None:
    assert bind_address("2001:0DB8::0") == "2001:db8::"
    with pytest.raises(ValueError, match="is not an IP address to listen on"):
        bind_address("localhost")
