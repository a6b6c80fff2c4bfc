"""Block before allow before default; IPv4 stays IPv4 however it arrives."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp import ipfilter
from usp.ipfilter import Verdict, compiled, decide, verdict
from usp.model import FilterAction
from usp.snapshot import FilterSpec

ALLOW, BLOCK = FilterAction.ALLOW, FilterAction.BLOCK


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("192.0.2.7", BLOCK),  # blocked, although its network is allowed
        ("192.0.2.8", ALLOW),
        ("::ffff:192.0.2.7", BLOCK),
        ("::ffff:192.0.2.8", ALLOW),
        ("198.51.100.1", BLOCK),  # the default
        ("203.0.113.9", ALLOW),  # the filter has it in its mapped form
        ("2001:db8::1", ALLOW),
        ("2001:db9::1", BLOCK),
        ("fe80::1%eth0", ALLOW),
    ],
)
def test_block_then_allow_then_default(address: str, answer: FilterAction) -> None:
    spec = FilterSpec(
        block=("192.0.2.7",),
        allow=("192.0.2.0/24", "2001:db8::/32", "::ffff:cb00:7100/120", "fe80::/10"),
        default=BLOCK,
    )
    assert decide(spec, address) is answer


@pytest.mark.parametrize(
    ("address", "found", "words"),
    [
        ("192.0.2.7", Verdict(BLOCK, "block", "192.0.2.7"), "the block rule 192.0.2.7 matches"),
        ("::ffff:192.0.2.8", Verdict(ALLOW, "allow", "192.0.2.0/24"), "the allow rule 192.0.2.0/24 matches"),
        ("198.51.100.1", Verdict(BLOCK, "default"), "no rule matches, and the default is to block"),
    ],
)
def test_the_rule_that_decided(address: str, found: Verdict, words: str) -> None:
    spec = FilterSpec(block=("203.0.113.0/24", "192.0.2.7"), allow=("192.0.2.0/24",), default=BLOCK)
    assert verdict(spec, address) == found
    assert str(found) == words
    assert decide(spec, address) is found.action


def test_without_rules_the_default_decides() -> None:
    assert decide(FilterSpec(), "192.0.2.1") is ALLOW
    assert decide(FilterSpec(default=BLOCK), "::1") is BLOCK


def test_everything_is_a_network_too() -> None:
    assert decide(FilterSpec(block=("0.0.0.0/0",)), "192.0.2.1") is BLOCK
    assert decide(FilterSpec(block=("0.0.0.0/0",)), "::1") is ALLOW
    assert decide(FilterSpec(block=("::/0",)), "192.0.2.1") is ALLOW


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="not-an-address"):
        decide(FilterSpec(), "not-an-address")


_networks = st.ip_addresses(v=4).flatmap(
    lambda address: st.integers(0, 32).map(
        lambda length: str(ipaddress.ip_network((int(address) >> (32 - length) << (32 - length), length)))
    )
)


@given(st.lists(_networks, max_size=8), st.ip_addresses(v=4))
def test_agrees_with_the_plain_definition(networks: list[str], address: ipaddress.IPv4Address) -> None:
    expected = any(address in ipaddress.ip_network(network) for network in networks)
    answer = compiled(FilterSpec(block=tuple(networks)))(str(address))
    assert (answer is BLOCK) is expected


def test_among() -> None:
    inside = ipfilter.among(("192.0.2.0/24", "2001:db8::/32"))
    assert [inside(each) for each in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "198.51.100.1")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert not ipfilter.among(())("192.0.2.7")
