"""Every Rule but LDAP's x what a partner comes with x four clients: who gets in, what was audited, what the target saw.

The table is the whole truth: a row is one offer, a column one Rule, and a cell the attempts that are judged, in order.
    p, k    the password, the key
    +       accepted, and that is all it takes: the partner is in
    ~       accepted, and the other is needed, too
    -       refused by usp-server; the target never hears of it
    t       refused by the target
    .       nothing that this Rule takes was shown
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.login_site import RULES, Seen, Site
from tests.e2e.partners import CLIENTS, Offer

pytestmark = pytest.mark.once

TABLE = {
    #                                        1     2     3     6        7        8        9
    "all is right":                        ("p+", "p+", "p+", "k~ p+", "k~ p+", "k+",    "k+"),
    "all is right, password first":        ("p+", "p+", "p+", "p~ k+", "p~ k+", "p+",    "k+"),
    "wrong password":                      ("pt", "p-", "p-", "k~ p-", "k~ p-", "k+",    "k+"),
    "wrong password, password first":      ("pt", "p-", "p-", "p- k~", "p- k~", "p- k+", "k+"),
    "wrong key":                           ("p+", "p+", "p+", "k- p~", "k- p~", "k- p+", "k-"),
    "wrong key, password first":           ("p+", "p+", "p+", "p~ k-", "p~ k-", "p+",    "k-"),
    "both are wrong":                      ("pt", "p-", "p-", "k- p-", "k- p-", "k- p-", "k-"),
    "no password":                         (".",  ".",  ".",  "k~",    "k~",    "k+",    "k+"),
    "no key":                              ("p+", "p+", "p+", "p~",    "p~",    "p+",    "."),
    "nothing is shown":                    (".",  ".",  ".",  ".",     ".",     ".",     "."),
    "no such user":                        ("pt", "p-", "p-", "k- p-", "k- p-", "k- p-", "k-"),
    "the Account is disabled":             ("pt", "p-", "p-", "k- p-", "k- p-", "k- p-", "k-"),
    "the key is disabled":                 ("p+", "p+", "p+", "k- p~", "k- p~", "k- p+", "k-"),
    "the user name is under a penalty":    ("p-", "p-", "p-", "k- p-", "k- p-", "k- p-", "k-"),
}  # fmt: skip
OFFERS: dict[str, dict[str, Any]] = {
    "wrong password": {"password": "a-wrong-Password-4711"},
    "wrong key": {"key": "foreign"},
    "both are wrong": {"password": "a-wrong-Password-4711", "key": "foreign"},
    "no password": {"password": None},
    "no key": {"key": None},
    "nothing is shown": {"password": None, "key": None},
    "no such user": {"username": "nobody-known"},
    "the Account is disabled": {"username": "switched-off"},
    "the key is disabled": {"key": "disabled"},
    "the user name is under a penalty": {"username": "barred"},
}
"""How an offer differs from what is right."""

METHODS = {"p": "password", "k": "publickey"}
OUTCOMES = {"+": "ok", "~": "partial", "-": "auth_denied", "t": "target_denied"}
PASSWORD_FIRST = ", password first"


def offered(site: Site, row: str) -> Offer:
    about = {"username": site.username, "password": site.password, "key": "mine"}
    about |= OFFERS.get(row.removesuffix(PASSWORD_FIRST), {})
    key = site.keys[about["key"]] if about["key"] else None
    return Offer(about["username"], about["password"], key, row.endswith(PASSWORD_FIRST))


def expected(site: Site, number: int, cell: str, offer: Offer, carrier: str) -> Seen:
    """What a cell of the table means."""
    judged = [] if cell == "." else [(METHODS[what], OUTCOMES[how]) for what, how in map(tuple, cell.split())]
    entered = cell.endswith("+")
    denials = [outcome for _, outcome in judged if outcome.endswith("_denied")]
    known = "" if offer.username == site.username else "invalid user "
    target = [f"Failed password for {known}{offer.username}"] if "t" in cell else []
    if entered:
        shown = "password" if RULES[number][2] == "passthrough" else "publickey"
        target = [f"Accepted {shown} for {site.username}"]
    return Seen(
        entered,
        tuple((carrier if method == "password" else method, outcome) for method, outcome in judged),
        "completed" if entered else [*["partner_closed"], *denials][-1],
        tuple(target),
    )


@pytest.mark.parametrize(
    ("row", "number", "client"),
    [
        (row, number, client)
        for row in TABLE
        for number in RULES
        for client in CLIENTS
        if CLIENTS[client].orders or not row.endswith(PASSWORD_FIRST)
    ],
)
def test_a_login(site: Site, row: str, number: int, client: str) -> None:
    offer = offered(site, row)
    if offer.username == "barred":
        site.bar("barred")
        offer = replace(offer, source=site.stranger())
    seen = site.attempt(number, CLIENTS[client].log_in, offer)
    if seen.entered and not CLIENTS[client].orderly:
        assert seen.outcome in ("completed", "partner_closed")
        seen = replace(seen, outcome="completed")
    cell = dict(zip(RULES, TABLE[row], strict=True))[number]
    assert seen == expected(site, number, cell, offer, CLIENTS[client].carrier)


def test_no_password_was_written_anywhere(site: Site) -> None:
    logs = site.suite.logs()
    assert OFFERS["wrong password"]["password"] not in logs
    assert site.password not in logs
