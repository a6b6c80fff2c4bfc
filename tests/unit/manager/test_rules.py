"""Rules between items: each one broken from each side, and where the finger points then."""

from __future__ import annotations

import pytest

from tests.catalogs import changed, edit, sample
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Change, Create, Delete
from usp.manager.rules import RULES, broken_rules
from usp.model import KINDS

CATALOG = sample()


def refused(catalog: Catalog, *changes: Change) -> list[Problem]:
    with pytest.raises(UspError) as caught:
        changed(catalog, *changes)
    assert caught.value.code == "item.invalid"
    return list(caught.value.problems)


def test_the_sample_keeps_them_all() -> None:
    assert list(broken_rules(CATALOG, set(KINDS))) == []


def test_a_rule_is_asked_only_about_its_kinds() -> None:
    assert {kind for kinds, _ in RULES for kind in kinds} == {
        "listeners",
        "routes",
        "deployments",
        "tunnels",
        "proxy-clients",
        "accounts",
    }
    assert list(broken_rules(CATALOG, {"rules"})) == []


def test_the_default_node_belongs_to_the_route() -> None:
    msg = "Outbound Node 'spare' does not belong to Route 'route' of Listener 'sftp'"
    change = edit(CATALOG, "listeners", "sftp", default_outbound_node="spare")
    assert refused(CATALOG, change) == [Problem(("default_outbound_node",), msg)]


def test_nor_does_the_route_lose_it() -> None:
    msg = "Outbound Node 'target' does not belong to Route 'route' of Listener 'sftp'"
    change = edit(CATALOG, "routes", "route", outbound_nodes=["spare"])
    assert refused(CATALOG, change) == [Problem(("outbound_nodes",), msg)]


def test_the_tunnel_belongs_to_the_deployments_server() -> None:
    msg = "Tunnel 'tunnel' does not belong to Proxy Server 'dmz2' of Deployment 'sftp-dmz'"
    change = edit(CATALOG, "deployments", "sftp-dmz", proxy_server="dmz2")
    assert refused(CATALOG, change) == [Problem(("tunnel",), msg)]
    msg = "Tunnel 'tunnel' does not belong to Proxy Server 'dmz' of Deployment 'sftp-dmz'"
    assert refused(CATALOG, edit(CATALOG, "tunnels", "tunnel", proxy_server="dmz2")) == [
        Problem(("proxy_server",), msg)
    ]


def test_the_client_belongs_to_the_tunnel() -> None:
    other = Create(
        "tunnels", {"name": "other", "proxy_server": "dmz", "port": 2300, "private_key": "tunnel-key"}, loc=(0,)
    )
    msg = "Proxy Client 'lan' does not belong to Tunnel 'tunnel' of Deployment 'sftp-dmz'"
    assert refused(CATALOG, other, edit(CATALOG, "proxy-clients", "lan", tunnel="other")) == [Problem(("tunnel",), msg)]
    with_other = changed(CATALOG, other)
    msg = "Proxy Client 'lan' does not belong to Tunnel 'other' of Deployment 'sftp-dmz'"
    assert refused(with_other, edit(with_other, "deployments", "sftp-dmz", tunnel="other")) == [
        Problem(("proxy_client",), msg)
    ]


def tunnel(address: str, port: int = 2222) -> Create:
    fields = {"name": "second", "proxy_server": "dmz", "address": address, "port": port, "private_key": "tunnel-key"}
    return Create("tunnels", fields)


@pytest.mark.parametrize(
    ("listener", "other", "clash"),
    [
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "192.0.2.1", True),
        ("192.0.2.1", "::", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "2001:db8::1", False),
    ],
)
def test_a_port_is_taken_once(listener: str, other: str, clash: bool) -> None:
    catalog = changed(CATALOG, edit(CATALOG, "listeners", "sftp", address=listener))
    if not clash:
        assert changed(catalog, tunnel(other)).find("tunnels", "second")
        return
    msg = "Listener 'sftp' and Tunnel 'second' would both listen on port 2222 of Proxy Server 'dmz'"
    assert refused(catalog, tunnel(other)) == [Problem(("port",), msg)]


def test_only_deployed_listeners_take_ports_and_each_server_has_its_own() -> None:
    changed(CATALOG, edit(CATALOG, "listeners", "tcp", port=2222))
    deployment = Create("deployments", {"name": "sftp-2", "listener": "sftp", "proxy_server": "dmz2"})
    changed(CATALOG, deployment)


def test_the_finger_points_at_what_was_changed() -> None:
    again = Create("deployments", {"name": "again", "listener": "sftp", "proxy_server": "dmz"})
    msg = "Listener 'sftp' and Listener 'sftp' would both listen on port 2222 of Proxy Server 'dmz'"
    assert refused(CATALOG, again) == [Problem(("listener",), msg)]
    assert [p.loc for p in refused(CATALOG, edit(CATALOG, "listeners", "sftp", port=2223))] == [("port",)]


def test_a_user_name_is_unique_in_its_repository() -> None:
    twin = Create("accounts", {"name": "twin", "account_repository": "partners", "username": "acme@example.org"})
    msg = "Account 'twin' and Account 'acme' have the same user name in Account Repository 'partners'"
    assert refused(CATALOG, twin) == [Problem(("username",), msg)]
    elsewhere = {"name": "twin", "account_repository": "others", "username": "acme@example.org"}
    changed(CATALOG, Create("account-repositories", {"name": "others"}), Create("accounts", elsewhere))


def test_deleting_breaks_no_rule() -> None:
    changed(CATALOG, Delete("deployments", "sftp-dmz"), Delete("proxy-clients", "lan"), Delete("tunnels", "tunnel"))
