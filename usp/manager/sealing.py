"""Sealing: secrets that travel in an export, under a passphrase.

A sealed secret is `usp-sealed-1:SALT:BODY`, so that each stands for itself wherever it is copied to. The key is
argon2id of the passphrase (RFC 9106, section 4, second recommendation); the body is AES-256-GCM, bound to kind, name
and field: moved to another item it does not open. The nonce is an HMAC of place and secret (the idea of RFC 5297: equal
texts in equal places give equal seals), so that an export of the same configuration is the same text, and can be kept
in git.
"""

from __future__ import annotations

import base64
import hmac
import unicodedata
from hashlib import sha256
from typing import Final

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from usp.secret import Secret

PREFIX: Final = "usp-sealed-1:"
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
PASSES, MEMORY_KIB, LANES = 3, 65536, 4
MIN_PASSPHRASE: Final = 12


class Seal:
    """One key. Making it takes a tenth of a second and 64 MiB, on purpose."""

    def __init__(self, passphrase: Secret, salt: bytes) -> None:
        text = unicodedata.normalize("NFKC", passphrase.reveal()).encode()
        keys = hash_secret_raw(text, salt, PASSES, MEMORY_KIB, LANES, 64, Type.ID)
        self._cipher, self._nonces = AESGCM(keys[:32]), keys[32:]
        self._prefix = f"{PREFIX}{_text(salt)}:"

    def close(self, secret: Secret, place: str) -> str:
        clear, where = secret.reveal().encode(), place.encode()
        nonce = hmac.digest(self._nonces, len(where).to_bytes(4, "big") + where + clear, sha256)[:NONCE_BYTES]
        return self._prefix + _text(nonce + self._cipher.encrypt(nonce, clear, where))

    def open(self, sealed: str, place: str) -> Secret | None:
        """None: another passphrase, another place, or damaged."""
        try:
            raw = base64.b64decode(sealed.rpartition(":")[2], validate=True)
            clear = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            return None
        return Secret(clear.decode())


def is_sealed(text: object) -> bool:
    return isinstance(text, str) and text.startswith(PREFIX)


def salt_of(sealed: str) -> bytes | None:
    """The salt of a sealed text; None when that is no salt."""
    try:
        salt = base64.b64decode(sealed.removeprefix(PREFIX).partition(":")[0], validate=True)
    except ValueError:
        return None
    return salt if len(salt) == SALT_BYTES else None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
