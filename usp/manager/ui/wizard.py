"""The guided set-up, decided: which items a first server and a first partner need, and how far one has come. Pure.

It keeps nothing of its own: how far one has come is read off the configuration and what the server reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Change, Create
from usp.manager.kinds import item_of
from usp.model import (
    Account,
    AccountRepository,
    CaCertificate,
    Deployment,
    InboundNode,
    IpFilter,
    Item,
    Listener,
    OutboundNode,
    PrivateKey,
    ProxyClient,
    ProxyServer,
    PublicKey,
    Record,
    Route,
    Rule,
    TlsCertificate,
    Tunnel,
)

ALLOWED: Final = re.compile(r"[A-Za-z0-9_.:/\[\]*-]{1,300}")
"""An entry of a client's allow list, as far as its file is concerned; the client itself says what is wrong with one."""

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Way:
    """What there is of a server's set-up so far."""

    server: Record
    tunnel: Record | None
    client: Record | None
    deployments: tuple[Record, ...]


def way(catalog: Catalog, server: Record) -> Way:
    def of(kind: type[Item], target: Record | None, field: str) -> tuple[Record, ...]:
        if target is None:
            return ()
        return tuple(by for by, name in catalog.referrers(target.id) if by.kind == kind.kind and name == field)

    tunnel = next(iter(of(Tunnel, server, "proxy_server")), None)
    client = next(iter(of(ProxyClient, tunnel, "tunnel")), None)
    return Way(server, tunnel, client, of(Deployment, server, "proxy_server"))


def authority(catalog: Catalog) -> Record | None:
    """A CA that can sign here."""
    for record in catalog.of_kind(CaCertificate.kind):
        if item_of(CaCertificate, record).private_key is not None:
            return record
    return None


def number(form: Form, field: str) -> Any:
    """As the catalog wants it; what is no number is told there."""
    text = form.get(field, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def first_server(catalog: Catalog, form: Form, throwaway: str) -> list[Change]:
    """A Proxy Server, with what the manager needs to talk to it, and, if wanted, a Tunnel with its Proxy Client, whose
    key is `throwaway` until its files are made."""
    changes: list[Change] = []
    name = form.get("name", "")
    ca = authority(catalog)
    ca_name = ca.item.name if ca else free(catalog, CaCertificate, "usp-ca")
    if ca is None:
        changes.append(Create(CaCertificate.kind, {"name": ca_name, "generate": {}}, ("ca",)))
    tls = next((each for each in catalog.of_kind(TlsCertificate.kind) if _issued_by(each, ca)), None)
    tls_name = tls.item.name if tls else free(catalog, TlsCertificate, "usp-manager")
    if tls is None:
        changes.append(Create(TlsCertificate.kind, {"name": tls_name, "generate": {"ca": ca_name}}, ("tls",)))
    server = {
        "name": name,
        "host": form.get("host", "").strip(),
        "port": number(form, "port"),
        "ca_certificate": ca_name,
        "tls_certificate": tls_name,
    }
    changes.append(Create(ProxyServer.kind, server, ("server",)))
    if form.get("tunnel") == "on":
        key, client = free(catalog, PrivateKey, f"{name}-tunnel"), form.get("client", "")
        public = free(catalog, PublicKey, client)
        tunnel = free(catalog, Tunnel, f"{name}-tunnel")
        changes += [
            Create(PrivateKey.kind, {"name": key, "generate": "ed25519"}, ("key",)),
            Create(
                Tunnel.kind,
                {"name": tunnel, "proxy_server": name, "port": number(form, "tunnel_port"), "private_key": key},
                ("tunnel",),
            ),
            Create(PublicKey.kind, {"name": public, "public_key": throwaway}, ("public",)),
            Create(ProxyClient.kind, {"name": client, "tunnel": tunnel, "public_key": public}, ("client",)),
        ]
    return changes


def _issued_by(record: Record, ca: Record | None) -> bool:
    return ca is not None and record.facts.get("issuer") == ca.facts.get("subject")


def first_partner(catalog: Catalog, found: Way, form: Form) -> list[Change]:
    """A target, a partner, and the Listener between them, on that server."""
    name = form.get("name", "")
    if not name:
        raise UspError("item.invalid", problems=[Problem(("name",), "is required")])
    keys = [line.strip() for line in form.get("host_keys", "").splitlines() if line.strip()]
    if not keys:
        wrong = Problem(("host_keys",), "read them through the server, or paste them, one a line")
        raise UspError("item.invalid", problems=[wrong])
    lines = [" ".join(line.split()[1:]) if re.match(r"\S+ (ssh-|ecdsa-)", line) else line for line in keys]
    pins = [free(catalog, PublicKey, f"{name}-target-{place}") for place in range(1, len(lines) + 1)]
    changes: list[Change] = [
        Create(PublicKey.kind, {"name": pin, "public_key": line}, ("host_keys",))
        for pin, line in zip(pins, lines, strict=True)
    ]
    target = {"name": name, "host": form.get("host", "").strip(), "port": number(form, "port"), "host_keys": pins}
    changes.append(Create(OutboundNode.kind, target, ("target",)))
    rule, more = _rule(catalog, name, form)
    host_key = free(catalog, PrivateKey, f"{name}-host-key")
    everybody, filters = _everybody(catalog)
    client = {"tunnel": found.tunnel.id, "proxy_client": found.client.id} if found.tunnel and found.client else {}
    return [
        *changes,
        *more,
        *filters,
        Create(PrivateKey.kind, {"name": host_key, "generate": "ed25519"}, ("host_key",)),
        Create(
            InboundNode.kind,
            {"name": name, "ip_filter": everybody, "host_keys": [host_key], "rule": rule},
            ("inbound_node",),
        ),
        Create(Route.kind, {"name": name, "inbound_nodes": [name], "outbound_nodes": [name]}, ("route",)),
        Create(
            Listener.kind,
            {"name": name, "port": number(form, "listener_port"), "route": name, "default_outbound_node": name},
            ("listener",),
        ),
        Create(
            Deployment.kind,
            {"name": name, "listener": name, "proxy_server": found.server.id, **client},
            ("deployment",),
        ),
    ]


def _rule(catalog: Catalog, name: str, form: Form) -> tuple[str, list[Change]]:
    if form.get("login") == "passthrough":
        fields = {"inbound_method": "password", "inbound_source": "none", "outbound_credentials": "passthrough"}
        return name, [Create(Rule.kind, {"name": name, **fields}, ("rule",))]
    partner, repository = form.get("partner", ""), free(catalog, AccountRepository, name)
    public = form.get("partner_key", "").strip()
    account: dict[str, Any] = {
        "name": free(catalog, Account, re.sub(r"[^a-zA-Z0-9_-]+", "-", partner) or name),
        "account_repository": repository,
        "username": partner,
        "password": form.get("partner_password") or None,
    }
    changes: list[Change] = [Create(AccountRepository.kind, {"name": repository}, ("repository",))]
    if public:
        key = free(catalog, PublicKey, f"{account['name']}-login")
        changes.append(Create(PublicKey.kind, {"name": key, "public_key": public}, ("partner_key",)))
        account["public_keys"] = [key]
    if not account["password"] and not public:
        raise UspError(
            "item.invalid", problems=[Problem(("partner_password",), "give a password, a public key, or both")]
        )
    dedicated: dict[str, Any] = {
        "name": name,
        "inbound_method": "password_or_public_key",
        "inbound_source": "account_repository",
        "account_repository": repository,
        "outbound_credentials": "dedicated",
        "username": form.get("username") or None,
        "password": form.get("password") or None,
    }
    if private := form.get("private_key", "").strip():
        key = free(catalog, PrivateKey, f"{name}-login")
        changes.append(Create(PrivateKey.kind, {"name": key, "private_key": private + "\n"}, ("private_key",)))
        dedicated["private_key"] = key
    return name, [
        *changes,
        Create(Account.kind, account, ("account",)),
        Create(Rule.kind, dedicated, ("rule",)),
    ]


def _everybody(catalog: Catalog) -> tuple[str, list[Change]]:
    """An IP Filter that lets all in."""
    for record in catalog.of_kind(IpFilter.kind):
        item = item_of(IpFilter, record)
        if item.default == "allow" and not item.block and item.enabled:
            return item.name, []
    name = free(catalog, IpFilter, "everybody")
    return name, [Create(IpFilter.kind, {"name": name, "default": "allow"}, ("filter",))]


def free(catalog: Catalog, model: type[Item], name: str) -> str:
    """The name, or with a number behind it."""
    found, place = name, 2
    while catalog.find(model.kind, found):
        found, place = f"{name}-{place}", place + 1
    return found


FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("server", "name"): "name",
    ("server", "host"): "host",
    ("server", "port"): "port",
    ("tunnel", "port"): "tunnel_port",
    ("tunnel", "name"): "name",
    ("key", "name"): "name",
    ("client", "name"): "client",
    ("public", "name"): "client",
    ("target", "host"): "host",
    ("target", "port"): "port",
    ("listener", "port"): "listener_port",
    ("listener", "address"): "listener_port",
    ("account", "username"): "partner",
    ("account", "password"): "partner_password",
    ("partner_key", "public_key"): "partner_key",
    ("private_key", "private_key"): "private_key",
    ("rule", "username"): "username",
    ("rule", "password"): "password",
    ("host_keys", "public_key"): "host_keys",
}
"""Which field of the form an item's field came from."""


def at_fields(problems: Sequence[Problem]) -> dict[str, list[str]]:
    """What is wrong, by the field of the form; "" for what belongs to none."""
    found: dict[str, list[str]] = {}
    for each in problems:
        step, field = (*map(str, each.loc), "", "")[:2]
        where = FIELDS.get((step, field)) or ("name" if field == "name" else step if len(each.loc) == 1 else "")
        text = each.msg if where else f"{'.'.join(map(str, each.loc))}: {each.msg}"
        found.setdefault(where, []).append(text)
    return found
