"""Keys and certificates that are made in place of being given."""

from __future__ import annotations

import pytest

from usp.manager.kinds import MADE
from usp.manager.ui.fields import fields_of
from usp.manager.ui.made import CHOICE, choice, fields, sent_values, wish
from usp.model import KINDS


@pytest.mark.parametrize("kind", MADE)
def test_the_form_has_the_choice_before_what_it_is_about(kind: str) -> None:
    own = fields_of(KINDS[kind])
    names = [each.name for each in fields(kind, own, exists=False)]
    place = names.index(CHOICE)
    assert names[place : place + 3] == [CHOICE, "generate", MADE[kind][0]]
    assert names[-1] == "passphrase"
    assert {each.name for each in own} < set(names)


def test_other_kinds_have_none() -> None:
    own = fields_of(KINDS["rules"])
    assert fields("rules", own, exists=True) == own
    assert wish("rules", {"made": ["here"]}, {"name": "r"}) == {"name": "r"}
    assert sent_values("rules", {}) == {}


def test_what_is_there_stays_unless_one_asks_for_another() -> None:
    assert choice(exists=True).default == "given"
    assert choice(exists=False).default == "here"


def test_what_belongs_to_the_other_choice_is_left_out() -> None:
    document = {"name": "k", "private_key": "x"}
    here = {"made": ["here"], "generate": ["ed25519"], "passphrase": ["p"]}
    assert wish("private-keys", here, document) == {"name": "k", "generate": "ed25519"}
    assert wish("private-keys", {**here, "made": ["given"]}, document) == {**document, "passphrase": "p"}
    assert wish("private-keys", {"made": ["given"], "passphrase": [""]}, document) == document
    assert wish("private-keys", {}, document) == document
    ca = wish("ca-certificates", {"made": ["here"], "generate.days": ["10"]}, {"name": "ca", "certificate": "x"})
    assert ca == {"name": "ca", "generate": {"days": 10}}


def test_what_was_asked_for_is_shown_again() -> None:
    assert sent_values("private-keys", None) == {}
    assert sent_values("private-keys", {"made": ["here"], "generate": ["rsa-3072"]}) == {
        "made": "here",
        "generate": "rsa-3072",
    }
