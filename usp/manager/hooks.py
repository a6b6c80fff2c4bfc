"""Webhooks, without I/O: what is sent about an event, how it is signed, where it may go, and when it is tried again.

The signature is Standard Webhooks' (`v1`): HMAC-SHA256 over the id, the time and the body, so that a receiver knows who
sent it, refuses what is old, and takes what comes twice once, by its id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from usp.manager.store.rows import Event
from usp.secret import Secret

OWN: Final = "webhook."
"""Events about webhooks are not sent: one that fails would have itself to tell of."""
GIVE_UP: Final = timedelta(days=1)
"""So long an event is tried; then it is left out, and told in the audit trail."""
SHORTEST: Final = 5.0
LONGEST: Final = 3600.0
"""Seconds between attempts."""
PREFIX: Final = "whsec_"


def secret(key: bytes) -> Secret:
    """As receivers are given it."""
    return Secret(PREFIX + base64.b64encode(key).decode())


def body(event: Event) -> bytes:
    data: dict[str, Any] = {
        "account": event.author,
        "target": event.target,
        "peer": event.peer,
        "server": event.server,
        "listener": event.listener,
        "session": event.session,
        "outcome": event.outcome,
        "detail": dict(event.detail),
    }
    return orjson.dumps({"type": event.action, "timestamp": event.at.isoformat(), "data": data})


def headers(secret: Secret, event: Event, sent: bytes, now: datetime) -> Mapping[str, str]:
    id, timestamp = f"evt_{event.number}", str(int(now.timestamp()))
    key = base64.b64decode(secret.reveal().removeprefix(PREFIX))
    signed = hmac.digest(key, b".".join((id.encode(), timestamp.encode(), sent)), hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "User-Agent": "usp-manager",
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def objection(url: str, *, insecure: bool) -> str:
    """What is wrong with a URL; empty: nothing. `insecure`: http and addresses of this machine will do."""
    try:
        found = urlsplit(url)
        host, _ = found.hostname, found.port
    except ValueError:
        return "is not a URL"
    if found.scheme not in ("https", "http") or not host:
        return "must be such as https://hooks.example/usp"
    if found.username is not None or found.fragment:
        return "must have no user name, password or fragment"
    if insecure:
        return ""
    if found.scheme != "https":
        return "must begin with https:// (events.insecure_webhooks = true permits http)"
    return "" if not _is_address(host) or permitted([host], insecure=False) else "leads to this machine or its link"


def permitted(addresses: Iterable[str], *, insecure: bool) -> list[str]:
    """Those of a host's addresses that may be connected to: not this machine, its links (where clouds keep
    credentials), or none at all."""
    return [each for each in addresses if insecure or not _is_local(each)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
