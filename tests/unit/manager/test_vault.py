"""Sealing: what opens, and what must not."""

from __future__ import annotations

import base64

import pytest

from usp.errors import UspError
from usp.manager import vault
from usp.manager.vault import Vault, WrappedKey

KEK = b"k" * 32
OTHER = b"o" * 32
PLACE = "usp_item:1:password"


def test_what_is_sealed_opens_at_its_place_only() -> None:
    safe = Vault([vault.new_key(KEK, "a")], KEK)
    sealed = safe.seal("Grüße", PLACE)
    assert safe.open(sealed, PLACE) == "Grüße".encode()
    assert safe.seal("Grüße", PLACE) != sealed
    with pytest.raises(UspError, match="cannot be opened") as caught:
        safe.open(sealed, "usp_item:2:password")
    assert caught.value.code == "vault.damaged"


@pytest.mark.parametrize("damage", ["", "v1.a", "v2.a.AAAA", "v1.b.AAAA", "v1.a.!!!!", "v1.a.", "v1.a.AAAA"])
def test_damage_is_seen(damage: str) -> None:
    safe = Vault([vault.new_key(KEK, "a")], KEK)
    with pytest.raises(UspError, match="cannot be opened"):
        safe.open(damage, PLACE)


def test_every_bit_counts() -> None:
    safe = Vault([vault.new_key(KEK, "a")], KEK)
    head, id, body = safe.seal(b"secret", PLACE).split(".")
    raw = bytearray(base64.b64decode(body))
    for place in range(len(raw)):
        raw[place] ^= 1
        with pytest.raises(UspError):
            safe.open(f"{head}.{id}.{base64.b64encode(raw).decode()}", PLACE)
        raw[place] ^= 1


def test_whose_data_key_it_is() -> None:
    one, two = Vault([vault.new_key(KEK, "a")], KEK), Vault([vault.new_key(KEK, "b")], KEK)
    assert one.knows(one.seal("x", PLACE))
    assert not two.knows(one.seal("x", PLACE))
    assert not one.knows("")


def test_a_wrong_kek_is_refused_at_once() -> None:
    with pytest.raises(UspError, match="not the key that this database's secrets were sealed with") as caught:
        Vault([vault.new_key(KEK, "a")], OTHER)
    assert caught.value.code == "vault.wrong_kek"


def test_a_damaged_or_moved_data_key_is_refused() -> None:
    key = vault.new_key(KEK, "a")
    for bad in (WrappedKey("b", key.kek_id, key.wrapped), WrappedKey("a", key.kek_id, "!")):
        with pytest.raises(UspError, match="is damaged"):
            Vault([bad], KEK)


def test_rotation_stopped_half_way_goes_on() -> None:
    keys = [vault.new_key(KEK, "a"), vault.new_key(KEK, "b")]
    before = Vault(keys, KEK)
    sealed = before.seal("secret", PLACE)
    assert before.active == "b"
    keys[0] = vault.rewrap(keys[0], KEK, OTHER)
    assert Vault(keys, OTHER, KEK).open(sealed, PLACE) == b"secret"
    with pytest.raises(UspError):
        Vault(keys, OTHER)
    keys = [vault.rewrap(key, KEK, OTHER) for key in keys]
    assert Vault(keys, OTHER).open(sealed, PLACE) == b"secret"


def test_nothing_shows_a_key() -> None:
    key = vault.new_key(KEK, "a")
    assert key.wrapped not in repr(key)
    assert KEK.hex() not in key.kek_id
