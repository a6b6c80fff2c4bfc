"""The AEAD ciphers of SSH, on buffers that are there already, in the place of asyncssh's own cipher shims.

* aes128-gcm@openssh.com, aes256-gcm@openssh.com: RFC 5647 as OpenSSH reads it (OpenSSH PROTOCOL, 1.6). The packet
  length is authenticated and sent in clear; the nonce is 4 fixed bytes and a counter of 8, per key.
* chacha20-poly1305@openssh.com: OpenSSH PROTOCOL.chacha20poly1305. The packet length is encrypted with a key of its
  own; the nonce is the packet's sequence number; the authentication key comes from the key stream's first block.

A `Cipher` also has the interface of asyncssh's GCMCipher or ChachaCipher, so that asyncssh goes on using it for what it
sends and receives itself, and there is one nonce counter for both. A packet in memory is: length (4), body, tag (16).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from itertools import chain, count
from operator import methodcaller
from struct import Struct
from typing import Any, Final, TypeAlias

import asyncssh
from asyncssh.encryption import ChachaEncryption, GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as StreamCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

TAG: Final = 16

USABLE: Final = hasattr(AESGCM, "encrypt_into") and hasattr(AESGCM, "decrypt_into")
"""Whether this `cryptography` works on given buffers."""

_BLOCK: Final = bytes(64)
_U32: Final = Struct(">I")

Bytes: TypeAlias = bytes | bytearray | memoryview


def _nonces(iv: bytes) -> Callable[[], bytes]:
    """What gives GCM's nonces, one after the other; no line of Python runs for each."""
    counters = chain(range(int.from_bytes(iv[4:], "big"), 1 << 64), count())
    return map(iv[:4].__add__, map(methodcaller("to_bytes", 8, "big"), counters)).__next__


class GcmCipher:
    """AES-GCM with one key schedule per key."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESGCM(key)
        self._nonce = _nonces(iv)
        self.stash: bytes | None = None
        """The text of a packet that was opened before asyncssh asks for it."""

    def length(self, seq: int, data: Bytes, at: int) -> int:
        """The length of the packet that begins there."""
        length: int = _U32.unpack_from(data, at)[0]
        return length

    def open(self, seq: int, packet: memoryview, text: memoryview) -> None:
        """Decrypt the body of `packet` into `text`. Raises MACError when it is not authentic."""
        try:
            self._aead.decrypt_into(self._nonce(), packet[4:], packet[:4], text)
        except InvalidTag:
            raise asyncssh.MACError("MAC verification failed") from None

    def seal(self, seq: int, packet: memoryview, body: memoryview) -> None:
        """Encrypt `body` into the packet whose length stands there already. It may be the packet's own, in place."""
        self._aead.encrypt_into(self._nonce(), body, packet[:4], packet[4:])

    def encrypt_and_sign(self, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        """For asyncssh."""
        sealed = self._aead.encrypt(self._nonce(), data, header)
        return header + sealed[:-TAG], sealed[-TAG:]

    def verify_and_decrypt(self, header: bytes, data: bytes, mac: bytes) -> bytes | None:
        """For asyncssh."""
        if self.stash is not None:
            text, self.stash = self.stash, None
            return text
        try:
            return self._aead.decrypt(self._nonce(), data + mac, header)
        except InvalidTag:
            return None


class ChachaCipher:
    """ChaCha20-Poly1305 in OpenSSH's arrangement, with one cipher context per key."""

    def __init__(self, key: bytes, length_key: bytes) -> None:
        self._body = StreamCipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._length = StreamCipher(ChaCha20(length_key, bytes(16)), mode=None).encryptor()
        self.stash: bytes | None = None

    def _begin(self, nonce: bytes) -> bytes:
        """Set the key stream to the packet's first block of text; the authentication key."""
        self._body.reset_nonce(bytes(8) + nonce)
        return self._body.update(_BLOCK)[:32]

    def _crypt_length(self, nonce: bytes, head: Bytes) -> bytes:
        self._length.reset_nonce(bytes(8) + nonce)
        return self._length.update(head)

    def length(self, seq: int, data: Bytes, at: int) -> int:
        return int.from_bytes(self._crypt_length(seq.to_bytes(8, "big"), data[at : at + 4]), "big")

    def open(self, seq: int, packet: memoryview, text: memoryview) -> None:
        key = self._begin(seq.to_bytes(8, "big"))
        if not hmac.compare_digest(Poly1305.generate_tag(key, packet[:-TAG]), packet[-TAG:]):
            raise asyncssh.MACError("MAC verification failed")
        self._body.update_into(packet[4:-TAG], text)

    def seal(self, seq: int, packet: memoryview, body: memoryview) -> None:
        nonce = seq.to_bytes(8, "big")
        key = self._begin(nonce)
        packet[:4] = self._crypt_length(nonce, packet[:4])
        self._body.update_into(body, packet[4:-TAG])
        packet[-TAG:] = Poly1305.generate_tag(key, packet[:-TAG])

    def encrypt_and_sign(self, header: bytes, data: bytes, nonce: bytes) -> tuple[bytes, bytes]:
        """For asyncssh."""
        key = self._begin(nonce)
        sealed = self._crypt_length(nonce, header) + self._body.update(data)
        return sealed, Poly1305.generate_tag(key, sealed)

    def decrypt_header(self, header: bytes, nonce: bytes) -> bytes:
        """For asyncssh."""
        return self._crypt_length(nonce, header)

    def verify_and_decrypt(self, header: bytes, data: bytes, nonce: bytes, tag: bytes) -> bytes | None:
        """For asyncssh."""
        if self.stash is not None:
            text, self.stash = self.stash, None
            return text
        key = self._begin(nonce)
        if not hmac.compare_digest(Poly1305.generate_tag(key, header + data), tag):
            return None
        return self._body.update(data)


Cipher: TypeAlias = GcmCipher | ChachaCipher


def adopt(encryption: Any) -> Cipher | None:
    """Put a cipher of ours into asyncssh's `encryption` object. None when there is none for it: it stays as it is."""
    cipher: Cipher
    if type(encryption) is GCMEncryption:
        theirs: Any = encryption._cipher
        cipher = GcmCipher(theirs._key, theirs._iv)
    elif type(encryption) is ChachaEncryption:
        theirs = encryption._cipher
        cipher = ChachaCipher(theirs._key, theirs._adkey)
    else:
        return None
    encryption._cipher = cipher
    return cipher


def adopted(encryption: Any) -> Cipher | None:
    """The cipher that `adopt` put there."""
    cipher = getattr(encryption, "_cipher", None)
    return cipher if isinstance(cipher, GcmCipher | ChachaCipher) else None
