"""The table of SSH algorithms, against what asyncssh has."""

from __future__ import annotations

import json

import pytest
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_public_key_algs
from pydantic import ValidationError

from usp.algorithms import KNOWN, LEGACY, MODERN, OFFERS, Algorithms, Offer, Profile, only_in_legacy

HERE = {
    "ciphers": get_encryption_algs(),
    "macs": get_mac_algs(),
    "kex": get_kex_algs(),
    "host_key_types": get_public_key_algs(),
    "signature_types": get_public_key_algs(),
}
NEED_LIBRARIES = ("mlkem", "sntrup")
"""asyncssh has them where OpenSSL or liboqs has."""


@pytest.mark.parametrize("category", Offer._fields)
def test_asyncssh_has_what_is_known_here(category: str) -> None:
    here = {name.decode() for name in HERE[category]}
    missing = [name for name in KNOWN[category] if name not in here and not name.startswith(NEED_LIBRARIES)]
    assert missing == []
    assert len(set(KNOWN[category])) == len(KNOWN[category])


@pytest.mark.parametrize("profile", Profile)
def test_nothing_old_outside_legacy(profile: Profile) -> None:
    offered = [name for category in OFFERS[profile] for name in category]
    assert all(offered)
    assert any(map(only_in_legacy, offered)) is (profile is Profile.LEGACY)
    for category in OFFERS[profile]:
        assert len(set(category)) == len(category) > 0


def test_modern_is_aead_only_and_ends_with_curve25519() -> None:
    assert all("gcm" in name or "poly1305" in name for name in MODERN.ciphers)
    assert MODERN.kex[0] == "mlkem768x25519-sha256"
    assert all("25519" in name for name in MODERN.kex)
    assert {name for name in LEGACY.kex if only_in_legacy(name)} < set(KNOWN["kex"])


def test_algorithms_are_known_and_old_ones_need_their_profile() -> None:
    def wrong(**fields: object) -> list[tuple[tuple[int | str, ...], str]]:
        with pytest.raises(ValidationError) as caught:
            Algorithms.model_validate_json(json.dumps(fields))
        return [(each["loc"], each["msg"]) for each in caught.value.errors()]

    ((loc, msg),) = wrong(ciphers=["aes128-ctr", "rot13"])
    assert loc == ("ciphers", 1)
    assert "is no SSH algorithm that is known here" in msg
    assert wrong(profile="best")[0][0] == ("profile",)
    assert "ssh-rsa: SHA-1 and CBC go with profile 'legacy' only" in wrong(host_key_types=["ssh-rsa"])[0][1]
    assert Algorithms(profile=Profile.LEGACY, macs=("hmac-sha1",)).offer().macs == ("hmac-sha1",)
    assert "ssh-rsa: SHA-1" in wrong(host_key_types=["ssh-rsa"], signature_types=["ssh-rsa"])[0][1]
    assert Algorithms(signature_types=("ssh-ed25519",)).offer() == MODERN._replace(signature_types=("ssh-ed25519",))
    assert Algorithms().offer() == OFFERS[Profile.MODERN]
