"""What is sent, how it is signed, and where it may go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from tests.catalogs import NOW
from usp.manager import hooks
from usp.manager.store.rows import Event

EVENT = Event(at=NOW, author="acme", action="file.closed", target="/in/a", detail={"bytes": 5}, number=7, outcome="ok")


def test_what_is_sent_and_how_it_is_signed() -> None:
    sent = hooks.body(EVENT)
    told = json.loads(sent)
    assert (told["type"], told["data"]["target"], told["data"]["detail"]) == ("file.closed", "/in/a", {"bytes": 5})
    assert told["timestamp"] == NOW.isoformat()
    secret = hooks.secret(b"k" * 32)
    headers = hooks.headers(secret, EVENT, sent, NOW)
    assert headers["webhook-id"] == "evt_7"
    signed = f"evt_7.{int(NOW.timestamp())}.".encode() + sent
    expected = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert secret.reveal() == "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    ("url", "objection"),
    [
        ("https://hooks.example/usp?a=b", ""),
        ("https://10.0.0.7:8443/x", ""),
        ("https://[2001:db8::7]/", ""),
        ("http://hooks.example/", "must begin with https:// (events.insecure_webhooks = true permits http)"),
        ("https://127.0.0.1/", "leads to this machine or its link"),
        ("https://169.254.169.254/latest", "leads to this machine or its link"),
        ("https://[::ffff:127.0.0.1]/", "leads to this machine or its link"),
        ("ftp://hooks.example/", "must be such as https://hooks.example/usp"),
        ("https:///x", "must be such as https://hooks.example/usp"),
        ("https://a:b@hooks.example/", "must have no user name, password or fragment"),
        ("https://hooks.example/#x", "must have no user name, password or fragment"),
        ("https://hooks.example:x/", "is not a URL"),
    ],
)
def test_where_it_may_go(url: str, objection: str) -> None:
    assert hooks.objection(url, insecure=False) == objection


def test_where_it_may_go_if_that_is_permitted() -> None:
    assert hooks.objection("http://127.0.0.1:80/", insecure=True) == ""
    addresses = ["127.0.0.1", "::1", "fe80::1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "10.0.0.1", "2001:db8::1"]
    assert hooks.permitted(addresses, insecure=True) == addresses
    assert hooks.permitted(addresses, insecure=False) == ["10.0.0.1", "2001:db8::1"]
