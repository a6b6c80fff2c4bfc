"""Each kind refuses what breaks its rules, and says where."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pydantic import ValidationError

from usp.combinations import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.model import (
    KINDS,
    Address,
    BindAddress,
    Deployment,
    Distribution,
    Host,
    InboundNode,
    IpFilter,
    Item,
    Listener,
    ListenerType,
    Model,
    OutboundNode,
    Port,
    ProxyProtocol,
    ProxyServer,
    Rule,
    TlsCertificate,
    Username,
)
from usp.secret import Secret

AGREED_KINDS = (
    "ca-certificates tls-certificates private-keys public-keys ip-filters account-repositories accounts rules "
    "inbound-nodes outbound-nodes routes listeners proxy-servers tunnels proxy-clients deployments"
)


def located(item: Item) -> list[str]:
    return [str(problem.loc[0]) for problem in item.problems()]


def test_the_kinds_are_the_agreed_ones() -> None:
    assert " ".join(KINDS) == AGREED_KINDS
    assert all(model.kind == kind and model.title for kind, model in KINDS.items())


def test_every_reference_names_a_kind_defined_before() -> None:
    from usp.model import Ref

    seen: set[str] = set()
    for kind, model in KINDS.items():
        text = repr([(field.annotation, field.metadata) for field in model.model_fields.values()])
        for other in KINDS:
            if repr(Ref(other)) in text:
                assert other in seen, f"{kind} refers to {other}"
        seen.add(kind)


def test_a_kind_is_defined_once() -> None:
    with pytest.raises(AssertionError):

        class Again(Item):
            kind = "rules"


def test_items_are_strict_frozen_and_closed() -> None:
    item = IpFilter(name="x")
    for wrong in ({"name": "x", "more": 1}, {"name": "x", "enabled": 1}, {"name": "x y"}, {"name": ""}, {}):
        with pytest.raises(ValidationError):
            IpFilter.model_validate(wrong)
    with pytest.raises(ValidationError):
        item.name = "y"  # type: ignore[misc]
    assert list(item.problems()) == []


@pytest.mark.parametrize(
    "cidr",
    ["192.0.2.7", "192.0.2.7/32", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "2001:DB8::1", "::/0", "::1/128"],
)
def test_canonical_networks(cidr: str) -> None:
    assert IpFilter(name="x", allow=(cidr,)).allow == (cidr.lower(),)


@pytest.mark.parametrize(
    ("cidr", "words"),
    [
        ("192.0.2.7/24", "host bits are set; write 192.0.2.0/24"),
        ("2001:db8::1/32", "host bits are set; write 2001:db8::/32"),
        ("2001:0db8::/32", "not canonical; write 2001:db8::/32"),
        ("192.0.2.0/255.255.255.0", "not canonical; write 192.0.2.0/24"),
        ("2001:db8:0::1", "not canonical; write 2001:db8::1"),
        ("192.0.2", "is not an IPv4 or IPv6 address or network"),
        ("example.com", "is not an IPv4 or IPv6 address or network"),
        ("", "is not an IPv4 or IPv6 address or network"),
    ],
)
def test_other_networks_are_refused(cidr: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        IpFilter(name="x", block=(cidr,))
    assert words in str(caught.value)


class Words(Model):
    host: Host = "h"
    bind: BindAddress = "::"
    port: Port = 1
    username: Username = "u"


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "sftp.example.com"},
        {"host": "10.0.0.1"},
        {"host": "2001:db8::1"},
        {"host": "a_b"},
        {"bind": "192.0.2.1"},
        {"port": 65535},
        {"username": "first.last@example.com"},
    ],
)
def test_words_that_fit(fields: dict[str, Any]) -> None:
    assert Words(**fields).model_dump(include=set(fields)) == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"host": ""},
        {"host": "a b"},
        {"host": "-a"},
        {"host": "a..b"},
        {"host": "a/b"},
        {"bind": "localhost"},
        {"port": 0},
        {"port": 65536},
        {"port": "22"},
        {"username": "a b"},
        {"username": "a/b"},
    ],
)
def test_words_that_do_not(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Words(**fields)


@pytest.mark.parametrize("combination", list(itertools.product(InboundMethod, InboundSource, OutboundCredentials)))
def test_nine_rule_combinations_are_valid(
    combination: tuple[InboundMethod, InboundSource, OutboundCredentials],
) -> None:
    method, source, outbound = combination
    dedicated = outbound is OutboundCredentials.DEDICATED
    rule = Rule(
        name="r",
        inbound_method=method,
        inbound_source=source,
        account_repository="a" if source is InboundSource.ACCOUNT_REPOSITORY else None,
        outbound_credentials=outbound,
        username="u" if dedicated else None,
        password=Secret("p") if dedicated else None,
    )
    assert located(rule) == ([] if combination in RULE_COMBINATIONS else ["inbound_method"])
    assert len(RULE_COMBINATIONS) == 9


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"account_repository": None}, ["account_repository"]),
        ({"username": None}, ["username"]),
        ({"password": None}, ["password"]),
        ({"password": None, "private_key": "k"}, []),
        ({"outbound_credentials": OutboundCredentials.PASSTHROUGH}, ["username", "password"]),
        ({"inbound_source": InboundSource.LDAP}, ["account_repository"]),
        ({"trusted_ca_keys": ("ca",)}, ["trusted_ca_keys"]),
    ],
)
def test_what_goes_with_a_rule(changes: dict[str, Any], wrong: list[str]) -> None:
    rule = Rule(
        name="r",
        inbound_method=InboundMethod.PASSWORD,
        inbound_source=InboundSource.ACCOUNT_REPOSITORY,
        account_repository="a",
        outbound_credentials=OutboundCredentials.DEDICATED,
        username="u",
        password=Secret("p"),
    )
    assert located(rule) == []
    assert located(rule.model_copy(update=changes)) == wrong


def test_what_goes_with_a_listener() -> None:
    sftp = Listener(name="l", port=22, route="r", default_outbound_node="o")
    tcp = Listener(name="l", port=22, type=ListenerType.TCP, ip_filter="f", target_host="h", target_port=22)
    assert located(sftp) == located(tcp) == []
    assert located(sftp.model_copy(update={"type": ListenerType.TCP})) == [
        "route",
        "default_outbound_node",
        "ip_filter",
        "target_host",
        "target_port",
    ]
    assert located(Listener(name="l", port=22)) == ["route", "default_outbound_node"]


def test_balancers_are_trusted_where_they_speak_for_others() -> None:
    listener = Listener(name="l", port=22, route="r", default_outbound_node="o")
    required, trusted = {"proxy_protocol": ProxyProtocol.REQUIRED}, {"proxy_trusted": ("192.0.2.0/24",)}
    assert located(listener.model_copy(update={**required, **trusted})) == []
    assert located(listener.model_copy(update=required)) == ["proxy_trusted"]
    assert located(listener.model_copy(update=trusted)) == ["proxy_trusted"]


def test_tunnel_and_client_of_a_deployment_go_together() -> None:
    deployment = Deployment(name="d", listener="l", proxy_server="s")
    assert located(deployment) == []
    assert located(deployment.model_copy(update={"tunnel": "t"})) == ["proxy_client"]
    assert located(deployment.model_copy(update={"proxy_client": "c"})) == ["tunnel"]
    assert located(deployment.model_copy(update={"tunnel": "t", "proxy_client": "c"})) == []


def test_secrets_stay_hidden_and_addresses_have_defaults() -> None:
    assert "hunter2" not in repr(TlsCertificate(name="c", certificate="x", private_key=Secret("hunter2")))
    server = ProxyServer(name="s", host="h", ca_certificate="a", tls_certificate="t")
    assert server.port == 8444


def test_a_banner_is_plain_text() -> None:
    node = InboundNode(name="n", ip_filter="f", host_keys=("k",), rule="r", banner="Hello,\n\tπάρτνερ")
    assert node.banner
    with pytest.raises(ValidationError):
        InboundNode(name="n", ip_filter="f", host_keys=("k",), rule="r", banner="\x1b[31m")


def test_an_address_of_a_target_is_given_once() -> None:
    twice = ({"host": "a", "port": 22}, {"host": "b", "port": 22}, {"host": "b", "port": 22})
    node = OutboundNode.model_validate({"name": "n", "host": "a", "host_keys": ("k",), "alternates": twice})
    assert [problem.loc for problem in node.problems()] == [("alternates", 0), ("alternates", 2)]
    assert [str(Address(host=host)) for host in ("a", "::1")] == ["a:22", "[::1]:22"]


def test_weights_go_with_a_distribution_by_weight() -> None:
    def wrong(**fields: object) -> list[tuple[object, ...]]:
        given = {"name": "n", "host": "a", "host_keys": ("k",), **fields}
        return [problem.loc for problem in OutboundNode.model_validate(given).problems()]

    one, none = {"host": "b", "weight": 1}, {"host": "c", "weight": 0}
    assert wrong(weight=7, alternates=(one, none)) == [("weight",), ("alternates", 1, "weight")]
    assert wrong(distribution=Distribution.WEIGHTED, weight=0, alternates=(none,)) == [("weight",)]
    assert wrong(distribution=Distribution.WEIGHTED, weight=0, alternates=(one, none)) == []


def test_a_limit_goes_with_shared_connections() -> None:
    node = OutboundNode(name="n", host="a", host_keys=("k",), sessions_per_connection=9)
    assert [problem.loc for problem in node.problems()] == [("sessions_per_connection",)]


def test_who_announces_partners_to_the_target() -> None:
    node = OutboundNode(name="n", host="a", host_keys=("k",), send_proxy_v2=True, connection_reuse=True)
    assert [problem.loc for problem in node.problems()] == [("send_proxy_v2",)]
    sftp = {"name": "l", "port": 1, "route": "r", "default_outbound_node": "o", "send_proxy_v2": True}
    assert [problem.loc for problem in Listener.model_validate(sftp).problems()] == [("send_proxy_v2",)]


def test_only_a_banner_of_ours_can_be_withheld() -> None:
    fields = {"name": "l", "port": 1, "type": ListenerType.TCP, "ip_filter": "f", "target_host": "h", "target_port": 2}
    listener = Listener.model_validate({**fields, "withhold_banner": False})
    assert [problem.loc for problem in listener.problems()] == [("withhold_banner",)]
