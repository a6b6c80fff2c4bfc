"""The guided set-up: what it makes is what a server needs, and what it takes amiss is told at the field."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from tests.catalogs import NOW, sample
from tests.unit.manager.site import PUBLIC
from usp.errors import Problem, UspError
from usp.manager.catalog import EMPTY, Catalog, Create, apply
from usp.manager.compile import compile as compiled
from usp.manager.ui.wizard import ALLOWED, at_fields, authority, first_partner, first_server, free, way
from usp.model import IpFilter, ProxyServer

SERVER = {
    "name": "dmz",
    "host": "192.0.2.1",
    "port": "8444",
    "tunnel": "on",
    "tunnel_port": "2022",
    "client": "lan",
}
PARTNER = {
    "name": "acme",
    "host": "sftp.internal",
    "port": "22",
    "host_keys": f"sftp.internal {PUBLIC}\n\n{PUBLIC}",
    "listener_port": "2222",
    "partner": "acme@example.org",
    "partner_password": "SECRET-partner",
    "username": "gateway",
    "password": "SECRET-target",
}


def made(catalog: Catalog, changes: Any) -> Catalog:
    """As the manager would, but for what takes real keys."""
    ids = count()
    plain = []
    for each in changes:
        fields = dict(each.fields)
        if "generate" in fields:
            del fields["generate"]
            fields |= {"private_key": "SECRET"}
            if each.kind != "private-keys":
                fields |= {"certificate": "PEM"}
        plain.append(Create(each.kind, fields, each.loc))
    return catalog.after(apply(catalog, plain, now=NOW, new_id=lambda: f"{catalog.revision}-{next(ids)}"))


def test_from_nothing_to_what_can_be_pushed() -> None:
    catalog = made(EMPTY, first_server(EMPTY, SERVER, PUBLIC))
    server = catalog.get(ProxyServer.kind, "dmz")
    found = way(catalog, server)
    assert found.tunnel is not None
    assert found.client is not None
    assert (found.client.item.name, found.deployments) == ("lan", ())
    catalog = made(catalog, first_partner(catalog, found, PARTNER))
    (deployment,) = way(catalog, server).deployments
    assert deployment.item.model_dump()["proxy_client"] == found.client.id
    pins = [
        record.item.model_dump()["public_key"]
        for record in catalog.of_kind("public-keys")
        if "target" in record.item.name
    ]
    assert pins == [PUBLIC, PUBLIC], "as ssh-keyscan writes them, and without the host"
    rule = catalog.get("rules", "acme").item.model_dump(mode="json")
    assert (rule["outbound_credentials"], rule["username"]) == ("dedicated", "gateway")
    assert catalog.get("accounts", "acme-example-org").item.model_dump()["username"] == "acme@example.org"


def test_without_a_tunnel_and_with_logins_at_the_target() -> None:
    catalog = made(EMPTY, first_server(EMPTY, {**SERVER, "tunnel": ""}, PUBLIC))
    found = way(catalog, catalog.get(ProxyServer.kind, "dmz"))
    assert (found.tunnel, found.client) == (None, None)
    catalog = made(catalog, first_partner(catalog, found, {**PARTNER, "login": "passthrough"}))
    assert catalog.get("rules", "acme").item.model_dump(mode="json")["outbound_credentials"] == "passthrough"
    assert catalog.of_kind("accounts") == ()
    assert compiled(catalog, "dmz").listeners


def test_what_is_there_is_used() -> None:
    catalog = made(EMPTY, first_server(EMPTY, SERVER, PUBLIC))
    ca = catalog.get("ca-certificates", "usp-ca")
    tls = catalog.get("tls-certificates", "usp-manager")
    records = {
        **catalog.records,
        ca.id: ca.model_copy(update={"facts": {"subject": "CN=ca"}}),
        tls.id: tls.model_copy(update={"facts": {"issuer": "CN=ca"}}),
    }
    catalog = Catalog(1, records)
    assert authority(catalog) is not None
    again = first_server(catalog, {**SERVER, "name": "dmz-2", "client": "lan-2"}, PUBLIC)
    assert [each.kind for each in again] == ["proxy-servers", "private-keys", "tunnels", "public-keys", "proxy-clients"]
    found = way(catalog, catalog.get(ProxyServer.kind, "dmz"))
    catalog = made(catalog, first_partner(catalog, found, PARTNER))
    more = first_partner(catalog, found, {**PARTNER, "name": "other", "listener_port": "2223"})
    assert "ip-filters" not in [each.kind for each in more], "there is one for everybody"
    assert authority(sample()) is None, "its key is elsewhere"
    third = first_server(sample(), SERVER, PUBLIC)
    assert [each.kind for each in third][:2] == ["ca-certificates", "tls-certificates"]
    assert free(catalog, IpFilter, "everybody") == "everybody-2"
    assert free(made(catalog, [Create("ip-filters", {"name": "everybody-2"})]), IpFilter, "everybody") == "everybody-3"


def test_a_filter_that_refuses_somebody_is_not_for_everybody() -> None:
    catalog = made(EMPTY, first_server(EMPTY, SERVER, PUBLIC))
    for fields in ({"default": "block"}, {"block": ["192.0.2.7"]}, {"enabled": False}):
        filtered = made(catalog, [Create("ip-filters", {"name": "everybody", **fields})])
        found = way(filtered, filtered.get(ProxyServer.kind, "dmz"))
        changes = first_partner(filtered, found, PARTNER)
        assert [dict(each.fields)["name"] for each in changes if each.kind == "ip-filters"] == ["everybody-2"]  # type: ignore[union-attr,arg-type]


def test_keys_in_place_of_passwords() -> None:
    catalog = made(EMPTY, first_server(EMPTY, SERVER, PUBLIC))
    found = way(catalog, catalog.get(ProxyServer.kind, "dmz"))
    form = {**PARTNER, "partner_password": "", "partner_key": PUBLIC, "password": "", "private_key": "SECRET-key"}
    catalog = made(catalog, first_partner(catalog, found, form))
    account = catalog.get("accounts", "acme-example-org").item.model_dump()
    assert catalog.records[account["public_keys"][0]].item.name == "acme-example-org-login"
    rule = catalog.get("rules", "acme").item.model_dump()
    assert (rule["password"], catalog.records[rule["private_key"]].item.name) == (None, "acme-login")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"host": "a b"}, "host"),
        ({"port": "x"}, "port"),
        ({"listener_port": "99999"}, "listener_port"),
        ({"host_keys": " "}, "host_keys"),
        ({"partner": "a b"}, "partner"),
        ({"partner_password": ""}, "partner_password"),
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
    ],
)
def test_what_is_wrong_is_told_at_the_field(changed: dict[str, str], field: str) -> None:
    catalog = made(EMPTY, first_server(EMPTY, SERVER, PUBLIC))
    found = way(catalog, catalog.get(ProxyServer.kind, "dmz"))
    with pytest.raises(UspError) as caught:
        made(catalog, first_partner(catalog, found, {**PARTNER, **changed}))
    assert field in at_fields(caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"host": ""}, "host"),
        ({"tunnel_port": "0"}, "tunnel_port"),
        ({"client": "ü"}, "client"),
    ],
)
def test_the_same_of_a_server(changed: dict[str, str], field: str) -> None:
    with pytest.raises(UspError) as caught:
        made(EMPTY, first_server(EMPTY, {**SERVER, **changed}, PUBLIC))
    assert field in at_fields(caught.value.problems), caught.value.problems


def test_what_belongs_to_no_field_is_told_with_its_way() -> None:
    found = at_fields([Problem(("ca", "certificate"), "is wrong"), Problem((), "and so on"), Problem(("allow",), "no")])
    assert found == {"": ["ca.certificate: is wrong", ": and so on"], "allow": ["no"]}


def test_what_may_stand_in_a_clients_settings() -> None:
    for entry in ("10.0.0.0/8:22", "sftp.internal:*", "[2001:db8::/32]:22"):
        assert ALLOWED.fullmatch(entry)
    for entry in ('a"', "${x}", "a b", "", "a\n"):
        assert not ALLOWED.fullmatch(entry)
