"""Compile: everything resolved, disabled items, and what is not available yet."""

from __future__ import annotations

import json
import random

import pytest

from tests.catalogs import changed, edit, sample
from usp.combinations import RULE_COMBINATIONS, InboundSource
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Create
from usp.manager.compile import AVAILABLE, Abilities
from usp.manager.compile import compile as compiled
from usp.model import (
    Distribution,
    FilterAction,
    ListenerType,
    Startup,
)
from usp.policy import Policy
from usp.scan import Scan
from usp.secret import Secret
from usp.snapshot import (
    AccountSpec,
    ClientSpec,
    Content,
    CredentialsSpec,
    DirectSpec,
    FilterSpec,
    PathSpec,
)

CATALOG = sample()
EVERYTHING = Abilities(frozenset(ListenerType), RULE_COMBINATIONS)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
EVERYONE = FilterSpec(block=("192.0.2.0/24",), default=FilterAction.ALLOW)


def disabled(kind: str, *names: str, catalog: Catalog = CATALOG) -> Catalog:
    return changed(catalog, *[edit(catalog, kind, name, enabled=False) for name in names])


def problems(catalog: Catalog, server: str = "dmz", abilities: Abilities = AVAILABLE) -> list[Problem]:
    with pytest.raises(UspError) as caught:
        compiled(catalog, server, abilities)
    assert caught.value.code == "compile.invalid"
    return list(caught.value.problems)


def test_a_listener_with_all_it_needs() -> None:
    (listener,) = compiled(CATALOG, "dmz").listeners
    assert listener.id == CATALOG.get("deployments", "sftp-dmz").id
    assert (listener.name, listener.address, listener.port) == ("sftp", "0.0.0.0", 2222)
    assert (listener.type, listener.startup, listener.direct) == (ListenerType.SFTP, Startup.AUTO, None)
    assert listener.path == PathSpec(tunnel=CATALOG.get("tunnels", "tunnel").id, client="lan")
    high, low = listener.nodes
    assert (high.name, low.name) == ("high", "low")
    assert high.filter == EVERYONE
    assert high.host_keys == (Secret("SECRET-host"), Secret("SECRET-host2"))
    assert (high.rule.name, high.rule.dedicated) == ("passthrough", None)
    assert listener.target is not None
    assert (listener.target.name, listener.target.host, listener.target.port) == ("target", "sftp.internal", 22)
    assert listener.target.host_keys == ("ssh-ed25519 target",)


def test_the_addresses_of_a_target_with_their_weights() -> None:
    shares = {"alternates": [{"host": "10.0.0.2", "weight": 0}], "distribution": "weighted", "weight": 3}
    target = compiled(changed(CATALOG, edit(CATALOG, "outbound-nodes", "target", **shares)), "dmz").listeners[0].target
    assert target is not None
    assert target.distribution is Distribution.WEIGHTED
    assert [(each.host, each.port, each.weight) for each in target.addresses] == [
        ("sftp.internal", 22, 3),
        ("10.0.0.2", 22, 0),
    ]


def test_policies_of_rules_and_accounts() -> None:
    policy = {"preset": "upload_only", "paths": [{"path": "/in/**", "access": "allow", "classes": ["write"]}]}
    catalog = changed(
        CATALOG,
        edit(CATALOG, "rules", "dedicated", policy=policy),
        edit(CATALOG, "inbound-nodes", "high", rule="dedicated"),
        edit(CATALOG, "accounts", "acme", password=HASH, policy={}),
    )
    before, content = compiled(CATALOG, "dmz"), compiled(catalog, "dmz")
    assert content.listeners[0].nodes[0].rule.policy == Policy.model_validate_json(json.dumps(policy))
    assert before.listeners[0].nodes[0].rule.policy == Policy()
    assert b"policy" not in before.to_wire()
    (repository,) = content.repositories
    assert {account.username: account.policy for account in repository.accounts}["acme@example.org"] == Policy()
    assert Content.model_validate_json(content.to_wire()) == content


def test_what_a_rule_has_scanned() -> None:
    scan = {"url": "icap://scanner.internal/avscan", "exclude": ["*.csv"], "on_failure": "allow"}
    catalog = changed(
        CATALOG,
        edit(CATALOG, "rules", "dedicated", scan=scan),
        edit(CATALOG, "inbound-nodes", "high", rule="dedicated"),
        edit(CATALOG, "accounts", "acme", password=HASH),
    )
    content = compiled(catalog, "dmz")
    assert content.listeners[0].nodes[0].rule.scan == Scan.model_validate_json(json.dumps(scan))
    assert b"scan" not in compiled(CATALOG, "dmz").to_wire()
    assert Content.model_validate_json(content.to_wire()) == content


def test_a_tunnel_with_its_clients() -> None:
    (tunnel,) = compiled(CATALOG, "dmz").tunnels
    client = ClientSpec(id=CATALOG.get("proxy-clients", "lan").id, name="lan", public_key="ssh-ed25519 client")
    assert (tunnel.name, tunnel.port, tunnel.private_key) == ("tunnel", 2223, Secret("SECRET-tunnel"))
    assert tunnel.clients == (client,)


def test_each_server_gets_its_own() -> None:
    assert compiled(CATALOG, "dmz2") == Content()
    catalog = changed(CATALOG, Create("deployments", {"name": "two", "listener": "sftp", "proxy_server": "dmz2"}))
    (listener,) = compiled(catalog, "dmz2").listeners
    assert listener.path is None
    assert compiled(catalog, "dmz") == compiled(CATALOG, "dmz")


def test_nodes_of_equal_priority_go_by_name() -> None:
    catalog = changed(CATALOG, edit(CATALOG, "inbound-nodes", "low", priority=9, name="a"))
    assert [node.name for node in compiled(catalog, "dmz").listeners[0].nodes] == ["a", "high"]


def test_the_same_catalog_always_gives_the_same_digest() -> None:
    digest = compiled(CATALOG, "dmz").digest
    records = list(CATALOG.records.items())
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert compiled(Catalog(1, dict(records)), "dmz").digest == digest


def test_no_such_server() -> None:
    with pytest.raises(UspError) as caught:
        compiled(CATALOG, "x")
    assert caught.value.code == "item.not_found"


# Disabled


def test_what_can_be_left_out_is() -> None:
    assert compiled(disabled("deployments", "sftp-dmz"), "dmz").listeners == ()
    assert compiled(disabled("listeners", "sftp"), "dmz").listeners == ()
    assert [node.name for node in compiled(disabled("inbound-nodes", "high"), "dmz").listeners[0].nodes] == ["low"]
    assert compiled(disabled("private-keys", "host-key-2"), "dmz").listeners[0].nodes[0].host_keys == (
        Secret("SECRET-host"),
    )
    without = disabled("deployments", "sftp-dmz")
    assert compiled(disabled("tunnels", "tunnel", catalog=without), "dmz") == Content()
    assert compiled(disabled("proxy-clients", "lan", catalog=without), "dmz").tunnels[0].clients == ()


@pytest.mark.parametrize(
    ("kind", "names", "problem"),
    [
        ("proxy-servers", ["dmz"], Problem(("proxy-servers", "dmz", "enabled"), "is disabled")),
        ("routes", ["route"], Problem(("listeners", "sftp", "route"), "Route 'route' is disabled")),
        ("rules", ["passthrough"], Problem(("inbound-nodes", "high", "rule"), "Rule 'passthrough' is disabled")),
        ("ip-filters", ["everyone"], Problem(("inbound-nodes", "high", "ip_filter"), "IP Filter 'everyone' is")),
        ("inbound-nodes", ["low", "high"], Problem(("routes", "route", "inbound_nodes"), "all of them are disabled")),
        ("private-keys", ["host-key"], Problem(("inbound-nodes", "low", "host_keys"), "all of them are disabled")),
        ("private-keys", ["tunnel-key"], Problem(("tunnels", "tunnel", "private_key"), "Private Key 'tunnel-key' is")),
        ("public-keys", ["target-key"], Problem(("outbound-nodes", "target", "host_keys"), "all of them")),
        ("public-keys", ["client-key"], Problem(("proxy-clients", "lan", "public_key"), "Public Key 'client-key' is")),
        ("tunnels", ["tunnel"], Problem(("deployments", "sftp-dmz", "tunnel"), "Tunnel 'tunnel' is disabled")),
        ("proxy-clients", ["lan"], Problem(("deployments", "sftp-dmz", "proxy_client"), "Proxy Client 'lan' is")),
        (
            "outbound-nodes",
            ["target"],
            Problem(("listeners", "sftp", "default_outbound_node"), "Outbound Node 'target' is disabled"),
        ),
    ],
)
def test_what_cannot_is_a_problem(kind: str, names: list[str], problem: Problem) -> None:
    (found,) = problems(disabled(kind, *names))
    assert found.loc == problem.loc
    assert found.msg.startswith(problem.msg)


# Not available yet


def with_tcp() -> Catalog:
    return changed(CATALOG, Create("deployments", {"name": "tcp", "listener": "tcp", "proxy_server": "dmz"}))


def with_rule(rule: str) -> Catalog:
    hashed = edit(CATALOG, "accounts", "acme", password=HASH)
    return changed(CATALOG, hashed, edit(CATALOG, "inbound-nodes", "low", rule=rule))


def test_what_servers_cannot_do_yet_is_refused() -> None:
    only_sftp = Abilities(frozenset({ListenerType.SFTP}), frozenset(RULE_COMBINATIONS))
    missing = [Problem(("listeners", "tcp", "type"), "type 'tcp' is not available yet")]
    assert problems(with_tcp(), abilities=only_sftp) == missing
    ldap = edit(CATALOG, "rules", "passthrough", inbound_source="ldap")
    assert problems(changed(CATALOG, ldap)) == [
        Problem(("rules", "passthrough", "inbound_source"), "LDAP is not available yet")
    ]
    msg = "password / none / passthrough is not available yet"
    few = Abilities(frozenset(ListenerType), frozenset())
    assert problems(CATALOG, abilities=few) == [Problem(("rules", "passthrough", "inbound_method"), msg)]


def test_one_problem_is_told_once() -> None:
    both = changed(
        CATALOG, *[edit(CATALOG, "inbound-nodes", name, rule="dedicated") for name in ("low", "high")]
    )  # unhashed
    second = {"name": "second", "port": 1, "route": "route", "default_outbound_node": "target"}
    deployment = {"name": "second", "listener": "second", "proxy_server": "dmz"}
    catalog = changed(both, Create("listeners", second), Create("deployments", deployment))
    assert len(problems(catalog)) == 1


def test_servers_share_the_repositories_of_a_revision() -> None:
    other = {"name": "other", "port": 1, "route": "route", "default_outbound_node": "target"}
    catalog = changed(
        with_rule("dedicated"),
        Create("listeners", other),
        Create("deployments", {"name": "other", "listener": "other", "proxy_server": "dmz2"}),
    )
    first, second = (compiled(catalog, server).repositories for server in ("dmz", "dmz2"))
    assert first[0].accounts
    assert second[0] is first[0]
    disabled_account = compiled(disabled("accounts", "acme", catalog=catalog), "dmz2")
    assert "acme@example.org" not in [account.username for account in disabled_account.repositories[0].accounts]
    unhashed = changed(catalog, edit(catalog, "accounts", "acme", password="in clear"))
    assert len(problems(unhashed, "dmz")) == 1
    assert problems(unhashed, "dmz2") == problems(unhashed, "dmz")


def test_direct_mode() -> None:
    _, tcp = compiled(with_tcp(), "dmz", EVERYTHING).listeners
    assert (tcp.name, tcp.nodes, tcp.target) == ("tcp", (), None)
    assert tcp.direct == DirectSpec(filter=EVERYONE, host="10.0.0.7", port=22)


def test_who_is_told_the_partners_address() -> None:
    catalog = changed(with_tcp(), edit(with_tcp(), "listeners", "tcp", send_proxy_v2=True))
    catalog = changed(catalog, edit(catalog, "outbound-nodes", "target", send_proxy_v2=True))
    sftp, tcp = compiled(catalog, "dmz", EVERYTHING).listeners
    assert sftp.target is not None
    assert sftp.target.send_proxy_v2
    assert tcp.direct is not None
    assert tcp.direct.send_proxy_v2


def test_load_balancers() -> None:
    trusted = {"proxy_protocol": "required", "proxy_trusted": ("192.0.2.0/24",)}
    catalog = changed(with_tcp(), edit(with_tcp(), "listeners", "sftp", **trusted))
    sftp, tcp = compiled(catalog, "dmz", EVERYTHING).listeners
    assert (sftp.proxy_protocol, sftp.proxy_trusted) == ("required", ("192.0.2.0/24",))
    assert (tcp.proxy_protocol, tcp.proxy_trusted) == ("off", ())


def test_dedicated_credentials() -> None:
    def dedicated(catalog: Catalog) -> CredentialsSpec | None:
        return compiled(catalog, "dmz", EVERYTHING).listeners[0].nodes[1].rule.dedicated

    catalog = with_rule("dedicated")
    password, key = Secret("SECRET-rule"), Secret("SECRET-host2")
    assert dedicated(catalog) == CredentialsSpec(username="gateway", password=password, private_key=key)
    catalog = changed(catalog, edit(catalog, "rules", "dedicated", private_key=None))
    assert dedicated(catalog) == CredentialsSpec(username="gateway", password=password)


# Accounts


def test_an_account_repository_travels_once_however_many_rules_use_it() -> None:
    catalog = with_rule("dedicated")
    catalog = changed(catalog, edit(catalog, "inbound-nodes", "high", rule="dedicated"))
    content = compiled(catalog, "dmz")
    (repository,) = content.repositories
    assert [node.rule.repository for node in content.listeners[0].nodes] == [repository.id] * 2
    assert (repository.name, repository.accounts) == (
        "partners",
        (AccountSpec(username="acme@example.org", password=Secret(HASH), public_keys=("ssh-ed25519 client",)),),
    )
    assert compiled(CATALOG, "dmz").repositories == ()


def test_accounts_and_keys_that_are_disabled_are_left_out() -> None:
    other = {"name": "p2", "account_repository": "elsewhere", "username": "p2", "password": HASH}
    catalog = changed(
        with_rule("dedicated"), Create("account-repositories", {"name": "elsewhere"}), Create("accounts", other)
    )
    without = changed(catalog, edit(catalog, "deployments", "sftp-dmz", tunnel=None, proxy_client=None))
    without = disabled("proxy-clients", "lan", catalog=without)
    (repository,) = compiled(disabled("public-keys", "client-key", catalog=without), "dmz").repositories
    assert [account.public_keys for account in repository.accounts] == [()]
    assert compiled(disabled("accounts", "acme", catalog=catalog), "dmz").repositories[0].accounts == ()
    (found,) = problems(disabled("account-repositories", "partners", catalog=catalog))
    assert found.loc == ("rules", "dedicated", "account_repository")


def test_a_password_in_clear_does_not_travel() -> None:
    catalog = with_rule("dedicated")
    catalog = changed(catalog, edit(catalog, "accounts", "acme", password="SECRET-clear"))
    assert problems(catalog) == [Problem(("accounts", "acme", "password"), "is not kept as a hash: give it again")]


def test_trusted_cas_and_banners() -> None:
    catalog = with_rule("dedicated")
    catalog = changed(
        catalog,
        edit(catalog, "rules", "dedicated", trusted_ca_keys=["target-key"]),
        edit(catalog, "inbound-nodes", "low", banner="Hello"),
    )
    _, low = compiled(catalog, "dmz").listeners[0].nodes
    assert (low.banner, low.rule.trusted_ca_keys) == ("Hello", ("ssh-ed25519 target",))
    (found, *_) = problems(disabled("public-keys", "target-key", catalog=catalog))
    assert found == Problem(("rules", "dedicated", "trusted_ca_keys"), "all of them are disabled")


def test_everything_but_ldap_is_available() -> None:
    assert AVAILABLE.rules == {each for each in RULE_COMBINATIONS if each[1] is not InboundSource.LDAP}
