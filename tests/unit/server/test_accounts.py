"""Accounts by user name, and the decoy for everybody else."""

from __future__ import annotations

from usp.argon2id import is_password_hash
from usp.secret import Secret
from usp.server.accounts import Account, Accounts

HASH = "$argon2id$v=19$m=8192,t=5,p=2$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"


def test_they_are_found_by_name() -> None:
    alice = Account("alice")
    accounts = Accounts([alice, Account("bob", Secret(HASH))])
    assert (len(accounts), accounts.find("alice"), accounts.find("Alice")) == (2, alice, None)


def test_the_decoy_costs_what_the_others_cost() -> None:
    assert Accounts([Account("alice"), Account("bob", Secret(HASH))]).decoy.split("$")[3] == "m=8192,t=5,p=2"
    assert is_password_hash(Accounts([]).decoy)
