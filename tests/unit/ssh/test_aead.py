"""The ciphers agree with asyncssh's own, in both directions, and let nothing pass that was changed."""

from __future__ import annotations

import os
from typing import Any

import asyncssh
import pytest
from asyncssh.encryption import get_encryption, get_encryption_params
from hypothesis import given
from hypothesis import strategies as st

from usp.ssh import aead

CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


def pair(name: str, key: bytes = b"") -> tuple[Any, Any]:
    """Two of asyncssh's encryption objects with the same keys."""
    size, iv_size, *_ = get_encryption_params(name.encode())
    key, iv = key or os.urandom(size), os.urandom(iv_size)
    return get_encryption(name.encode(), key, iv), get_encryption(name.encode(), key, iv)


def ours(encryption: Any) -> aead.Cipher:
    cipher = aead.adopt(encryption)
    assert cipher is not None
    assert aead.adopted(encryption) is cipher
    return cipher


def packet(body: bytes) -> bytearray:
    return bytearray(len(body).to_bytes(4, "big") + body + bytes(aead.TAG))


@pytest.mark.parametrize("name", CIPHERS)
@given(
    bodies=st.lists(st.binary(min_size=16, max_size=300), min_size=1, max_size=4),
    first=st.sampled_from([0, 7, 2**32 - 2]),
)
def test_what_we_seal_asyncssh_opens(name: str, bodies: list[bytes], first: int) -> None:
    theirs, mine = pair(name)
    cipher = ours(mine)
    for number, body in enumerate(bodies, start=first):
        sealed = packet(body)
        whole = memoryview(sealed)
        cipher.seal(number, whole, whole[4:-16])
        head, length = theirs.decrypt_header(number, bytes(sealed[:16]), 4)
        assert int.from_bytes(length, "big") == len(body)
        opened = theirs.decrypt_packet(number, head, bytes(sealed[16:-16]), 4, bytes(sealed[-16:]))
        assert opened == body


@pytest.mark.parametrize("name", CIPHERS)
@given(bodies=st.lists(st.binary(min_size=16, max_size=300), min_size=1, max_size=4))
def test_what_asyncssh_seals_we_open(name: str, bodies: list[bytes]) -> None:
    theirs, mine = pair(name)
    cipher = ours(mine)
    for number, body in enumerate(bodies):
        sealed, tag = theirs.encrypt_packet(number, len(body).to_bytes(4, "big"), body)
        whole = memoryview(sealed + tag)
        assert cipher.length(number, whole, 0) == len(body)
        text = bytearray(len(body))
        cipher.open(number, whole, memoryview(text))
        assert text == body


@pytest.mark.parametrize("name", CIPHERS)
def test_asyncssh_goes_on_with_our_cipher(name: str) -> None:
    """Packets of both kinds in turn: there is one nonce counter."""
    theirs, mine = pair(name)
    back, forth = pair(name)
    sender, receiver = ours(mine), ours(forth)
    for number in range(6):
        body = os.urandom(64)
        head = len(body).to_bytes(4, "big")
        if number % 2:
            sealed, tag = mine.encrypt_packet(number, head, body)
        else:
            whole = packet(body)
            view = memoryview(whole)
            sender.seal(number, view, view[4:-16])
            sealed, tag = bytes(whole[:-16]), bytes(whole[-16:])
        first, _ = theirs.decrypt_header(number, sealed[:16], 4)
        assert theirs.decrypt_packet(number, first, sealed[16:], 4, tag) == body

        sealed, tag = back.encrypt_packet(number, head, body)
        if number % 2:
            first, _ = forth.decrypt_header(number, sealed[:16], 4)
            assert forth.decrypt_packet(number, first, sealed[16:], 4, tag) == body
        else:
            receiver.open(number, memoryview(sealed + tag), memoryview(bytearray(64)))


@pytest.mark.parametrize("name", CIPHERS)
@given(place=st.integers(0, 83), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(name: str, place: int, bit: int) -> None:
    theirs, mine = pair(name)
    sealed, tag = theirs.encrypt_packet(3, (64).to_bytes(4, "big"), os.urandom(64))
    whole = bytearray(sealed + tag)
    whole[place] ^= 1 << bit
    cipher = ours(mine)
    with pytest.raises(asyncssh.MACError):
        cipher.open(3, memoryview(whole), memoryview(bytearray(64)))
    head, _ = mine.decrypt_header(3, bytes(whole[:16]), 4)
    assert mine.decrypt_packet(3, head, bytes(whole[16:-16]), 4, bytes(whole[-16:])) is None


@pytest.mark.parametrize("name", CIPHERS)
def test_the_stash_is_given_once(name: str) -> None:
    _, mine = pair(name)
    cipher = ours(mine)
    cipher.stash = b"opened before"
    head, _ = mine.decrypt_header(0, bytes(16), 4)
    assert mine.decrypt_packet(0, head, bytes(64), 4, bytes(16)) == b"opened before"
    assert mine.decrypt_packet(0, head, bytes(64), 4, bytes(16)) is None


def test_other_ciphers_stay_as_they_are() -> None:
    encryption = get_encryption(b"aes128-ctr", bytes(16), bytes(16), b"hmac-sha2-256", bytes(32))
    assert aead.adopt(encryption) is None
    assert aead.adopted(encryption) is None
    assert aead.adopt(None) is None


def test_this_cryptography_is_good_enough() -> None:
    """Sealing happens in place: the same memory is input and output."""
    assert aead.USABLE
