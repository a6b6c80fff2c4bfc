"""How long who failed to log in has to wait: a table of numbers, and what counts as the same asker.

Failures are counted by user name, whether or not anybody has that name, and by source address. The first few are free;
then each doubles the time for which no attempt is looked at, up to a limit.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

USER: Final = "user"
ADDRESS: Final = "address"
IPV6_PREFIX: Final = 64  # one customer's network (RFC 6177): any number of addresses, one asker


@dataclass(frozen=True, slots=True)
class Limits:
    """Failures that are free, and seconds of the first and of the longest wait."""

    user: int
    address: int
    first: float
    longest: float


def user_subject(name: str) -> str:
    return f"{USER}:{name}"


def address_subject(address: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 address; `address` as `getpeername` gives it, or "" for none."""
    try:
        plain = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{ADDRESS}:{address[:64]}"
    if isinstance(plain, ipaddress.IPv6Address):
        if plain.ipv4_mapped is None:
            return f"{ADDRESS}:{ipaddress.ip_network((plain, IPV6_PREFIX), strict=False)}"
        plain = plain.ipv4_mapped
    return f"{ADDRESS}:{plain}"


def penalty(limits: Limits, subject: str, failures: int) -> timedelta | None:
    """For how long the subject is locked out after its `failures`th failure; None: not at all."""
    free = limits.user if subject.startswith(f"{USER}:") else limits.address
    if failures < free:
        return None
    return timedelta(seconds=min(limits.longest, limits.first * 2.0 ** min(failures - free, 64)))
