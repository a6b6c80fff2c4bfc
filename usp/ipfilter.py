"""IP Filters: may this address connect? A blocked network refuses, else an allowed one permits, else the default says.

An IPv4 address that comes mapped into IPv6 (`::ffff:192.0.2.7`, RFC 4291, 2.5.5.2) is the IPv4 address: a dual-stack
socket reports partners like that. Looking up takes one set lookup per prefix length in use, however many the rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from usp.model import FilterAction
from usp.snapshot import FilterSpec

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Match = Callable[[_Address], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer and the rule that gave it: `rule` is `block`, `allow` or `default`, `network` what the rule says."""

    action: FilterAction
    rule: str
    network: str = ""

    def __str__(self) -> str:
        if self.rule == "default":
            return f"no rule matches, and the default is to {self.action}"
        return f"the {self.rule} rule {self.network} matches"


def verdict(spec: FilterSpec, address: str) -> Verdict:
    """`decide`, with the deciding rule: the first that matches."""
    plain = _plain_address(address)
    for action, cidrs in ((FilterAction.BLOCK, spec.block), (FilterAction.ALLOW, spec.allow)):
        network = next((cidr for cidr in cidrs if _matcher((cidr,))(plain)), None)
        if network is not None:
            return Verdict(action, action.value, network)
    return Verdict(spec.default, "default")


def decide(spec: FilterSpec, address: str) -> FilterAction:
    """The filter's answer for one address (an IP address as `getpeername` gives it; anything else is a ValueError)."""
    return compiled(spec)(address)


def compiled(spec: FilterSpec) -> Callable[[str], FilterAction]:
    """`decide` for one filter, made ready once for many addresses."""
    blocked, allowed = _matcher(spec.block), _matcher(spec.allow)

    def answer(text: str) -> FilterAction:
        address = _plain_address(text)
        if blocked(address):
            return FilterAction.BLOCK
        return FilterAction.ALLOW if allowed(address) else spec.default

    return answer


def among(cidrs: Iterable[str]) -> Callable[[str], bool]:
    """Whether an address is in one of the networks, made ready once."""
    matches = _matcher(cidrs)
    return lambda text: matches(_plain_address(text))


def _matcher(cidrs: Iterable[str]) -> _Match:
    networks: dict[tuple[int, int], set[int]] = {}
    for cidr in cidrs:
        version, length, prefix = _plain_network(cidr)
        networks.setdefault((version, length), set()).add(prefix)

    def matches(address: _Address) -> bool:
        number, bits = int(address), address.max_prefixlen
        return any(
            version == address.version and number >> (bits - length) in prefixes
            for (version, length), prefixes in networks.items()
        )

    return matches


def _plain_network(cidr: str) -> tuple[int, int, int]:
    """Version, prefix length and prefix, of the IPv4 network if it is mapped."""
    network = ipaddress.ip_network(cidr)
    bits, length = network.max_prefixlen, network.prefixlen
    number = int(network.network_address)
    if isinstance(network, ipaddress.IPv6Network) and length >= 96 and network.network_address.ipv4_mapped is not None:
        return 4, length - 96, (number & 0xFFFFFFFF) >> (bits - length)
    return network.version, length, number >> (bits - length)


def _plain_address(text: str) -> _Address:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
