"""Differences between contents, as they are told, and what a push will do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.support import RULE, TARGET, direct, listener, node, tunnel
from usp.bandwidth import Bandwidth
from usp.combinations import InboundMethod
from usp.manager.diff import EMPTY, Change, Difference, FieldChange, differences, effects
from usp.model import (
    Address,
    Distribution,
    Model,
    Startup,
)
from usp.policy import Access, OpClass, PathRule, Policy, Window, WindowAccess
from usp.scan import Scan
from usp.secret import Secret
from usp.snapshot import (
    AccountSpec,
    ClientSpec,
    Content,
    CredentialsSpec,
    FilterSpec,
    PathSpec,
    RepositorySpec,
    TunnelSpec,
)

PATH = PathSpec(tunnel="tun", client="client")
ONE = listener("one", 2222, path=PATH)
TUNNEL = tunnel("tun", 2223)
ACCOUNT = AccountSpec(username="acme", password=Secret("SECRET-1"))
REPOSITORY = RepositorySpec(id="rep", name="partners", accounts=(ACCOUNT,))
SAMPLE = Content(listeners=(ONE, listener("two", 2224)), tunnels=(TUNNEL,), repositories=(REPOSITORY,))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEX2oFY1cm1UTPnvBPkMqhWbF34mEBfHaDUKBjnoFqGm"


def but(spec: Any, **fields: Any) -> Any:
    return spec.model_copy(update=fields)


def with_rule(**fields: Any) -> Content:
    changed = but(node(), rule=but(RULE, **fields))
    listeners = tuple(but(each, nodes=(changed,)) for each in SAMPLE.listeners)
    return SAMPLE.model_copy(update={"listeners": listeners})


def told(old: Content, new: Content) -> list[str]:
    return [str(difference) for difference in differences(old, new)]


def test_the_same_has_no_difference() -> None:
    assert differences(SAMPLE, SAMPLE) == ()


def test_everything_is_added_or_removed() -> None:
    names = [
        "Listener 'one'",
        "Listener 'two'",
        "Inbound Node 'node'",
        "Rule 'rule'",
        "Outbound Node 'target'",
        "Tunnel 'tun'",
        "Proxy Client 'client' of 'tun'",
        "Account Repository 'partners'",
        "Account 'acme' of 'partners'",
    ]
    assert told(EMPTY, SAMPLE) == [f"{name} added" for name in names]
    assert told(SAMPLE, EMPTY) == [f"{name} removed" for name in names]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (
            but(SAMPLE, listeners=(but(ONE, port=2299), SAMPLE.listeners[1])),
            "Listener 'one' changed; port: 2222 -> 2299",
        ),
        (
            but(SAMPLE, listeners=(but(ONE, name="uno"), SAMPLE.listeners[1])),
            "Listener 'uno' changed; name: one -> uno",
        ),
        (
            but(SAMPLE, listeners=(but(ONE, path=None), SAMPLE.listeners[1])),
            "Listener 'one' changed; path.tunnel: tun -> nothing; path.client: client -> nothing",
        ),
        (with_rule(method=InboundMethod.PUBLIC_KEY), "Rule 'rule' changed; method: password -> public_key"),
        (
            with_rule(dedicated=CredentialsSpec(username="u", password=Secret("SECRET-2"))),
            "Rule 'rule' changed; dedicated.username: nothing -> u; dedicated.password is set",
        ),
        (with_rule(repository="rep"), "Rule 'rule' changed; repository: nothing -> partners"),
        (
            with_rule(policy=Policy(deny=(OpClass.READ,), paths=(PathRule(path="/a", access=Access.DENY),))),
            "Rule 'rule' changed; policy.deny: with read; policy.paths: with deny all on /a",
        ),
        (
            but(SAMPLE, repositories=(but(REPOSITORY, accounts=(but(ACCOUNT, policy=Policy(max_file_size=9)),)),)),
            "Account 'acme' of 'partners' changed; policy.preset: nothing -> full; "
            "policy.max_file_size: nothing -> 9; policy.mode: nothing -> enforce",
        ),
        (
            with_rule(policy=Policy(root="/p/{account}", windows=(Window(access=WindowAccess.CLOSED),))),
            "Rule 'rule' changed; policy.root: nothing -> /p/{account}; "
            "policy.windows: with closed daily 00:00-24:00 UTC",
        ),
        (
            with_rule(scan=Scan(url="icap://scanner/av", exclude=("*.csv",))),
            "Rule 'rule' changed; scan.url: nothing -> icap://scanner/av; scan.on_failure: nothing -> block; "
            "scan.on_oversize: nothing -> block; scan.exclude: with *.csv; scan.timeout: nothing -> 60",
        ),
        (with_rule(bandwidth=Bandwidth(upload=50_000)), "Rule 'rule' changed; bandwidth.upload: nothing -> 50000"),
        (with_rule(trusted_ca_keys=("a", "b")), "Rule 'rule' changed; trusted_ca_keys: with a, with b"),
        (
            but(SAMPLE, tunnels=(but(TUNNEL, private_key=Secret("SECRET-3")),)),
            "Tunnel 'tun' changed; private_key changed",
        ),
        (
            but(SAMPLE, repositories=(but(REPOSITORY, accounts=(but(ACCOUNT, password=None),)),)),
            "Account 'acme' of 'partners' changed; password is removed",
        ),
        (
            but(SAMPLE, repositories=(but(REPOSITORY, accounts=(ACCOUNT, AccountSpec(username="other"))),)),
            "Account 'other' of 'partners' added",
        ),
    ],
)
def test_each_change_is_told_once(new: Content, expected: str) -> None:
    assert told(SAMPLE, new) == [expected]


def test_used_parts_count_by_their_names() -> None:
    changed = but(ONE, nodes=(node("other"), node()), target=but(TARGET, id="t2", name="spare"))
    assert told(SAMPLE, but(SAMPLE, listeners=(changed, SAMPLE.listeners[1]))) == [
        "Listener 'one' changed; nodes: with other; target: target -> spare",
        "Inbound Node 'other' added",
        "Outbound Node 'spare' added",
    ]


def test_lists_tell_what_came_what_went_and_their_order() -> None:
    def filtered(*block: str) -> Content:
        return Content(listeners=(listener("l", 1, nodes=(node(block=block),)),))

    both = filtered("192.0.2.0/24", "10.0.0.0/8")
    (told_,) = differences(both, filtered("10.0.0.0/8", "172.16.0.0/12"))
    assert str(told_.fields[0]) == "filter.block: with 172.16.0.0/12, without 192.0.2.0/24"
    (told_,) = differences(both, filtered("10.0.0.0/8", "192.0.2.0/24"))
    assert str(told_.fields[0]) == "filter.block: in the order 10.0.0.0/8, 192.0.2.0/24"
    assert told_.fields[0] == FieldChange(
        "filter.block", ["192.0.2.0/24", "10.0.0.0/8"], ["10.0.0.0/8", "192.0.2.0/24"]
    )


def test_more_addresses_of_a_target_are_told() -> None:
    changed = but(TARGET, alternates=(Address(host="10.0.0.2"), Address(host="::1", port=2022)))
    new = but(SAMPLE, listeners=tuple(but(each, target=changed) for each in SAMPLE.listeners))
    assert told(SAMPLE, new) == ["Outbound Node 'target' changed; alternates: with 10.0.0.2:22, with [::1]:2022"]
    (difference,) = differences(SAMPLE, new)
    assert difference.fields[0].after == ["10.0.0.2:22", "[::1]:2022"]


def test_weights_of_a_target_are_told() -> None:
    def but_for(**changes: object) -> Any:
        return but(SAMPLE, listeners=tuple(but(each, target=but(TARGET, **changes)) for each in SAMPLE.listeners))

    old = but_for(alternates=(Address(host="10.0.0.2"),))
    new = but_for(alternates=(Address(host="10.0.0.2", weight=3),), distribution=Distribution.WEIGHTED, weight=0)
    assert told(old, new) == [
        "Outbound Node 'target' changed; alternates: with 10.0.0.2:22 (weight 3), without 10.0.0.2:22; "
        "distribution: ordered -> weighted; weight: 1 -> 0"
    ]


def test_public_keys_are_told_by_their_fingerprints() -> None:
    changed = but(TARGET, host_keys=(f"{KEY} comment",))
    new = but(SAMPLE, listeners=tuple(but(each, target=changed) for each in SAMPLE.listeners))
    (line,) = told(SAMPLE, new)
    assert line.startswith("Outbound Node 'target' changed; host_keys: with ssh-ed25519 SHA256:")
    assert "AAAAC3" not in line
    assert str(FieldChange("banner", "", "hello AAAAA")) == "banner: nothing -> hello AAAAA"


def test_secrets_are_never_told() -> None:
    host_keys = but(node(), host_keys=(Secret("SECRET-4"),))
    new = Content(
        listeners=(but(ONE, nodes=(host_keys,)),),
        tunnels=(but(TUNNEL, private_key=Secret("SECRET-5")),),
        repositories=(but(REPOSITORY, accounts=(but(ACCOUNT, password=Secret("SECRET-6")),)),),
    )
    found = differences(SAMPLE, new)
    assert (
        Difference(Change.CHANGED, "Inbound Node", "node", "", (FieldChange("host_keys", "***", "***", secret=True),))
        in found
    )
    assert "SECRET" not in repr(found) + str(told(SAMPLE, new))


PORTS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(Startup)), unique_by=lambda each: each[0], max_size=4)


@given(PORTS, PORTS, st.dictionaries(st.sampled_from(["l1", "l2", "l3", "l4"]), st.booleans()))
def test_effects_account_for_every_port(old: Any, new: Any, run_states: dict[str, bool]) -> None:
    def content(ports: Any) -> Content:
        return Content(listeners=tuple(listener(f"l{port}", port, startup=startup) for port, startup in ports))

    found = effects(content(old), content(new), run_states)

    def wanted(ports: Any) -> set[int]:
        return {port for port, startup in ports if run_states.get(f"l{port}", startup is Startup.AUTO)}

    assert {port.port for port in found.opened} == wanted(new) - wanted(old)
    assert {port.port for port in found.closed} == wanted(old) - wanted(new)
    assert {port.port for port in found.kept} == wanted(old) & wanted(new)


def sentences(old: Content, new: Content, **run_states: bool) -> list[str]:
    *found, last = effects(old, new, run_states).sentences
    assert last == "Live sessions keep the configuration that they began with."
    return found


def test_effects_in_words() -> None:
    manual = listener("manual", 2225, startup=Startup.MANUAL)
    new = Content(listeners=(but(ONE, id="uno", name="uno"), manual, listener("stopped", 2226)), tunnels=(TUNNEL,))
    assert sentences(SAMPLE, new, stopped=False) == [
        "Closes 127.0.0.1:2224 of Listener 'two': nobody new can come in, its sessions go on.",
        "Keeps 127.0.0.1:2222 open, which passes from Listener 'one' to Listener 'uno'.",
        "Keeps 127.0.0.1:2223 of Tunnel 'tun' open.",
        "Listener 'manual' does not listen: its start-up is manual.",
        "Listener 'stopped' does not listen: an administrator stopped it.",
    ]
    assert sentences(EMPTY, Content(listeners=(manual,)), manual=True) == [
        "Opens 127.0.0.1:2225 for Listener 'manual'."
    ]


CLIENT: Model = ClientSpec(id="c2", name="second", public_key="ssh-ed25519 BBBB")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (None, "Closes the links of Tunnel 'tun', and the sessions that go through them end."),
        (
            but(TUNNEL, private_key=Secret("other")),
            "Tunnel 'tun' has another key: its links are closed and made anew, and sessions through them end.",
        ),
        (
            but(TUNNEL, clients=(CLIENT,)),
            "Proxy Client 'client' of Tunnel 'tun' is gone or has another key: "
            "its links are closed, and sessions through them end.",
        ),
        (but(TUNNEL, clients=(*TUNNEL.clients, CLIENT)), "Keeps 127.0.0.1:2223 of Tunnel 'tun' open."),
    ],
)
def test_links_that_are_cut_are_told(new: TunnelSpec | None, expected: str) -> None:
    old = Content(tunnels=(TUNNEL,))
    assert sentences(old, Content(tunnels=(new,) if new else ()))[-1] == expected


def test_a_tunnel_that_is_closed() -> None:
    assert sentences(Content(tunnels=(TUNNEL,)), EMPTY)[0] == (
        "Closes 127.0.0.1:2223 of Tunnel 'tun': no new link can come in."
    )


def test_direct_listeners_are_compared_field_by_field() -> None:
    old = Content(listeners=(direct("d", 1, FilterSpec()),))
    new = Content(listeners=(direct("d", 1, FilterSpec(allow=("10.0.0.0/8",))),))
    assert told(old, new) == ["Listener 'd' changed; direct.filter.allow: with 10.0.0.0/8"]
