"""A configuration with every kind of item, for tests of the manager. Its secrets all begin with SECRET-."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from usp.manager.catalog import EMPTY, Catalog, Change, Create, Delta, Update, apply
from usp.model import Record

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ALL = {"default": "allow"}

ITEMS: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("ca-certificates", {"name": "ca", "certificate": "PEM of ca"}),
    ("tls-certificates", {"name": "tls", "certificate": "PEM of tls", "private_key": "SECRET-tls"}),
    ("private-keys", {"name": "host-key", "private_key": "SECRET-host"}),
    ("private-keys", {"name": "host-key-2", "private_key": "SECRET-host2"}),
    ("private-keys", {"name": "tunnel-key", "private_key": "SECRET-tunnel"}),
    ("public-keys", {"name": "target-key", "public_key": "ssh-ed25519 target\n"}),
    ("public-keys", {"name": "client-key", "public_key": "ssh-ed25519 client"}),
    ("ip-filters", {"name": "everyone", "block": ["192.0.2.0/24"], "default": "allow"}),
    ("account-repositories", {"name": "partners"}),
    (
        "accounts",
        {
            "name": "acme",
            "account_repository": "partners",
            "username": "acme@example.org",
            "password": "SECRET-account",
            "public_keys": ["client-key"],
        },
    ),
    (
        "rules",
        {
            "name": "passthrough",
            "inbound_method": "password",
            "inbound_source": "none",
            "outbound_credentials": "passthrough",
        },
    ),
    (
        "rules",
        {
            "name": "dedicated",
            "inbound_method": "password_or_public_key",
            "inbound_source": "account_repository",
            "account_repository": "partners",
            "outbound_credentials": "dedicated",
            "username": "gateway",
            "password": "SECRET-rule",
            "private_key": "host-key-2",
        },
    ),
    (
        "inbound-nodes",
        {"name": "low", "priority": 1, "ip_filter": "everyone", "host_keys": ["host-key"], "rule": "passthrough"},
    ),
    (
        "inbound-nodes",
        {
            "name": "high",
            "priority": 9,
            "ip_filter": "everyone",
            "host_keys": ["host-key", "host-key-2"],
            "rule": "passthrough",
        },
    ),
    ("outbound-nodes", {"name": "target", "host": "sftp.internal", "port": 22, "host_keys": ["target-key"]}),
    ("outbound-nodes", {"name": "spare", "host": "spare.internal", "host_keys": ["target-key"]}),
    ("routes", {"name": "route", "inbound_nodes": ["low", "high"], "outbound_nodes": ["target"]}),
    ("listeners", {"name": "sftp", "port": 2222, "route": "route", "default_outbound_node": "target"}),
    (
        "listeners",
        {
            "name": "tcp",
            "port": 2224,
            "type": "tcp",
            "ip_filter": "everyone",
            "target_host": "10.0.0.7",
            "target_port": 22,
        },
    ),
    ("proxy-servers", {"name": "dmz", "host": "dmz.example.org", "ca_certificate": "ca", "tls_certificate": "tls"}),
    ("proxy-servers", {"name": "dmz2", "host": "dmz2.example.org", "ca_certificate": "ca", "tls_certificate": "tls"}),
    ("tunnels", {"name": "tunnel", "proxy_server": "dmz", "port": 2223, "private_key": "tunnel-key"}),
    ("proxy-clients", {"name": "lan", "tunnel": "tunnel", "public_key": "client-key"}),
    (
        "deployments",
        {"name": "sftp-dmz", "listener": "sftp", "proxy_server": "dmz", "tunnel": "tunnel", "proxy_client": "lan"},
    ),
)


def ids(prefix: str = "id") -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def creates(items: Sequence[tuple[str, dict[str, Any]]] = ITEMS) -> list[Change]:
    return [Create(kind, fields, loc=(kind, fields["name"])) for kind, fields in items]


def delta(catalog: Catalog, *changes: Change, now: datetime = NOW) -> Delta:
    return apply(catalog, changes, now=now, new_id=ids(f"r{catalog.revision + 1}"))


def changed(catalog: Catalog, *changes: Change) -> Catalog:
    return catalog.after(delta(catalog, *changes))


def sample() -> Catalog:
    """The catalog with all of ITEMS at revision 1."""
    return changed(EMPTY, *creates())


def fields(record: Record, **other: Any) -> dict[str, Any]:
    """The fields of an item as the API shows them, some of them replaced."""
    return {**record.item.model_dump(mode="json"), **other}


def edit(catalog: Catalog, kind: str, key: str, **other: Any) -> Update:
    """An Update that replaces some fields of an item."""
    return Update(kind, key, fields(catalog.get(kind, key), **other))
