"""Vault: what the database keeps in secret is sealed here, by envelope encryption with AES-256-GCM.

A *data key* encrypts values; the *key-encryption key* (KEK, 32 bytes, from the settings) encrypts data keys. To change
the KEK, only the few data keys are wrapped anew; each is self-contained, so that can stop half-way and go on.

* sealed value: `v1.<data key id>.<base64 of nonce and ciphertext>`, bound by its associated data to table, row and
  field: moved to another place it does not open;
* wrapped data key: base64 of nonce and ciphertext, bound to its id. `kek_id` beside it names the KEK without giving it
  away.

Nonces are random 96-bit numbers: a data key is good for 2^32 values (NIST SP 800-38D section 8.3).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from usp.errors import UspError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORMAT: Final = "v1"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as the database keeps it."""

    id: str
    kek_id: str
    wrapped: str = field(repr=False)


def kek_id(kek: bytes) -> str:
    """A name for a KEK that tells nothing about it."""
    return hmac.digest(kek, b"usp key-encryption key id", hashlib.sha256).hex()[:16]


def new_key(kek: bytes, id: str) -> WrappedKey:
    """A fresh data key."""
    return _wrap(kek, id, os.urandom(KEY_BYTES))


def rewrap(key: WrappedKey, old: bytes, new: bytes) -> WrappedKey:
    """The same data key under a new KEK. Wrapped already: as it is."""
    if key.kek_id == kek_id(new):
        return key
    return _wrap(new, key.id, _unwrap(key, [old]))


def _wrap(kek: bytes, id: str, key: bytes) -> WrappedKey:
    return WrappedKey(id, kek_id(kek), _encrypt(AESGCM(kek), key, f"usp_data_key:{id}"))


def _unwrap(key: WrappedKey, keks: Iterable[bytes]) -> bytes:
    for kek in keks:
        if hmac.compare_digest(key.kek_id, kek_id(kek)):
            try:
                return _decrypt(AESGCM(kek), key.wrapped, f"usp_data_key:{key.id}")
            except (InvalidTag, ValueError):
                raise UspError("vault.wrong_kek", f"data key {key.id} is damaged") from None
    raise UspError(
        "vault.wrong_kek",
        "encryption.kek is not the key that this database's secrets were sealed with"
        " (while it is being rotated, encryption.rotation has to name the key before it)",
        key=key.id,
        sealed_with=key.kek_id,
    )


class Vault:
    """All data keys in clear, for one process. `active` seals; every one opens."""

    def __init__(self, keys: Sequence[WrappedKey], kek: bytes, previous: bytes | None = None) -> None:
        """UspError `vault.wrong_kek` unless every key opens with `kek`, or with the KEK before it."""
        assert keys
        keks = [kek] if previous is None else [kek, previous]
        self._ciphers = {key.id: AESGCM(_unwrap(key, keks)) for key in keys}
        self.active = keys[-1].id

    def knows(self, sealed: str) -> bool:
        """Whether its data key is here. (Another manager may have made one since.)"""
        return sealed.partition(".")[2].partition(".")[0] in self._ciphers

    def seal(self, value: str | bytes, place: str) -> str:
        """`place`: table, row and field, such as `usp_item:<id>:private_key`. The same place opens it."""
        clear = value.encode() if isinstance(value, str) else value
        return f"{FORMAT}.{self.active}.{_encrypt(self._ciphers[self.active], clear, place)}"

    def open(self, sealed: str, place: str) -> bytes:
        """UspError `vault.damaged` when it was tampered with or belongs elsewhere."""
        try:
            version, id, body = sealed.split(".")
            if version != FORMAT:
                raise ValueError(version)
            return _decrypt(self._ciphers[id], body, place)
        except (InvalidTag, ValueError, KeyError):
            raise UspError("vault.damaged", f"what is sealed at {place} cannot be opened", place=place) from None


def _encrypt(cipher: AESGCM, clear: bytes, place: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.b64encode(nonce + cipher.encrypt(nonce, clear, place.encode())).decode()


def _decrypt(cipher: AESGCM, body: str, place: str) -> bytes:
    raw = base64.b64decode(body, validate=True)
    return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
