"""Sealed secrets open where they belong, with their passphrase, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest

from usp.manager.sealing import PREFIX, SALT_BYTES, Seal, is_sealed, salt_of
from usp.secret import Secret

SALT = bytes(range(SALT_BYTES))
SEAL = Seal(Secret("correct horse battery"), SALT)
HUSH = Secret("hush hush \N{SNOWMAN}")
PLACE = "rules/r/password"


def test_it_opens_again() -> None:
    sealed = SEAL.close(HUSH, PLACE)
    assert sealed.startswith(PREFIX)
    assert "hush" not in sealed
    assert SEAL.open(sealed, PLACE) == HUSH
    assert Seal(Secret("correct horse battery"), SALT).open(sealed, PLACE) == HUSH


def test_equal_texts_in_equal_places_give_equal_seals_and_others_do_not() -> None:
    seals = {SEAL.close(secret, place) for secret in (HUSH, Secret("x")) for place in (PLACE, "rules/r/passworD")}
    assert len(seals | {SEAL.close(HUSH, PLACE)}) == 4
    nonces = sorted(seal.rpartition(":")[2][:16] for seal in seals)
    assert all(one != other for one, other in pairwise(nonces))


def test_nothing_else_opens_it() -> None:
    sealed = SEAL.close(HUSH, PLACE)
    assert SEAL.open(sealed, "rules/other/password") is None
    assert Seal(Secret("another passphrase"), SALT).open(sealed, PLACE) is None
    assert Seal(Secret("correct horse battery"), bytes(SALT_BYTES)).open(sealed, PLACE) is None
    for broken in (sealed[:-8], sealed + "!", PREFIX, "", f"{sealed[:-6]}AAAA=="):
        assert SEAL.open(broken, PLACE) is None


@pytest.mark.parametrize(("text", "found"), [(SEAL.close(HUSH, PLACE), True), ("***", False), (None, False)])
def test_what_is_sealed(text: object, found: bool) -> None:
    assert is_sealed(text) is found


def test_salts() -> None:
    assert salt_of(SEAL.close(HUSH, PLACE)) == SALT
    assert salt_of(f"{PREFIX}AAAA:x") is None
    assert salt_of(f"{PREFIX}!!:x") is None


def test_compatible_forms_of_a_passphrase_are_one() -> None:
    one, other = (Seal(Secret(text), SALT).close(HUSH, PLACE) for text in ("\u00e9\ufb01", "e\u0301fi"))
    assert one == other
