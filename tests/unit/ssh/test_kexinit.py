"""The first bytes of an SSH server: any cut of them gives the same, and nothing in them does harm."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.errors import UspError
from usp.ssh.kexinit import MAX_PREFACE, Greeting, Offer, agreement, printable

CTR, GCM = "aes256-ctr", "aes128-gcm@openssh.com"
LISTS = ("curve25519-sha256,ext-info-s", "ssh-ed25519", f"{CTR},{GCM}", GCM, "hmac-sha2-256", "hmac-sha2-256,other")


def packet(payload: bytes, padding: int = 8) -> bytes:
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)


def kexinit(*lists: str) -> bytes:
    body = b"".join(len(names).to_bytes(4, "big") + names.encode() for names in lists)
    return packet(b"\x14" + bytes(16) + body + bytes(13))


WHOLE = b"hello\r\n\r\nSSH-2.0-OpenSSH_9.9 x\r\n" + packet(b"\x02ignore me") + kexinit(*LISTS)


@given(st.lists(st.integers(1, len(WHOLE)), max_size=6))
def test_any_cut_gives_the_same(cuts: list[int]) -> None:
    greeting = Greeting()
    places = sorted({0, *cuts, len(WHOLE)})
    for start, end in pairwise(places):
        greeting.feed(WHOLE[start:end])
    assert greeting.preface == "hello"
    assert greeting.identification == "SSH-2.0-OpenSSH_9.9 x"
    assert greeting.offer == Offer(("curve25519-sha256", "ext-info-s"), ("ssh-ed25519",), (GCM,), ("hmac-sha2-256",))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * (MAX_PREFACE + 1), "does not speak SSH"),
        (b"SSH-1.5-old\n", "another SSH than 2.0"),
        (b"SSH-2.0-x\n" + b"GET / HTTP/1.0\r\n", "does not speak SSH after"),
        (b"SSH-2.0-x\n" + packet(b"\x01\0\0\0\x0b\0\0\0\x08too many\0\0\0\0"), "it disconnects: "),
        (b"SSH-2.0-x\n" + packet(b"\x15"), "it begins with message 21"),
        (b"SSH-1.99-x\n" + packet(b"\x14" + bytes(16) + b"\xff\xff\xff\xff"), "malformed"),
    ],
)
def test_what_is_no_ssh_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UspError, match=words) as caught:
        Greeting().feed(data)
    assert caught.value.code == "target.refused"


@given(st.binary(max_size=200))
def test_strangers_cannot_make_it_fail_otherwise(data: bytes) -> None:
    with suppress(UspError):
        Greeting().feed(b"SSH-2.0-x\n" + data)


def offer(ciphers: str = CTR, macs: str = "m1", kex: str = "k1") -> Offer:
    return Offer((kex,), ("ssh-ed25519",), (ciphers,), (macs,))


def test_what_both_would_use() -> None:
    assert agreement(offer(), offer()) == "key exchange k1, cipher aes256-ctr, MAC m1"
    ours = Offer(("k2", "k1"), (), ("other", GCM), ())
    assert agreement(ours, offer(GCM, "m9")) == f"key exchange k1, cipher {GCM}"


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (offer(kex="k9"), "no key exchange in common: it offers k9; permitted: k1"),
        (offer(ciphers=""), "no cipher in common: it offers none; permitted: aes256-ctr"),
        (offer(macs="m9"), "no MAC in common: it offers m9; permitted: m1"),
    ],
)
def test_nothing_in_common(theirs: Offer, words: str) -> None:
    with pytest.raises(UspError) as caught:
        agreement(offer(), theirs)
    assert (caught.value.code, caught.value.message) == ("target.algorithms", words)


def test_printable() -> None:
    assert printable(b"a\x1b[2J\xff") == "a?[2J?"
    assert len(printable(b"x" * 1000)) == 240


def test_a_penalty_of_openssh_is_recognised() -> None:
    with pytest.raises(UspError, match="PerSourcePenaltyExemptList") as caught:
        Greeting().feed(b"Not allowed at this time\r\n")
    assert caught.value.code == "target.penalised"
