"""IP addresses and networks as configuration writes them: one way each, so that equal ones are seen to be equal."""

from __future__ import annotations

import ipaddress


def canonical_cidr(value: str) -> str:
    """An IPv4 or IPv6 network or address, in lower case; ValueError when it is not canonical."""
    try:
        network = ipaddress.ip_network(value, strict=True)
    except ValueError:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError("is not an IPv4 or IPv6 address or network, such as 192.0.2.7 or 2001:db8::/32") from None
        raise ValueError(f"is not canonical: host bits are set; write {network} or a single address") from None
    canonical = {str(network), network.compressed}
    if network.prefixlen == network.max_prefixlen:
        canonical.add(str(network.network_address))
    if value.lower() not in canonical:
        raise ValueError(f"is not canonical; write {min(canonical, key=len)}")
    return value.lower()


def bind_address(value: str) -> str:
    """An IP address to listen on, in its one way of writing; ValueError for anything else."""
    try:
        return str(ipaddress.ip_address(value))  # one way to write it, so that equal ones are seen to be equal
    except ValueError:
        raise ValueError("is not an IP address to listen on, such as 0.0.0.0, :: or 192.0.2.7") from None
