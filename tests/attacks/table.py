"""What a hostile SSH client does, and what must come of it: one row each.

A row has the stage at which it begins, what is then sent, and the answer. Payloads are sealed as they must be at that
stage; `Raw` bytes go out as they are. The answers:

    a number        a DISCONNECT with that reason (RFC 4253, section 11.1), and the end
    CLOSED          the end, with or without words
    a type          that message is the answer to it, and the connection goes on
    GOES_ON         nothing: what a good client would do next still works
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.attacks import raw_ssh as ssh
from tests.attacks.raw_ssh import RawSsh, kexinit, opening, packet, request, string, u32, userauth
from tests.attacks.raw_ssh import data as channel_data
from tests.unit.server.gateway import PASSWORD, USER

PROTOCOL_ERROR, NO_KEX, MAC_ERROR, NO_SERVICE, BY_APPLICATION, NO_METHODS, BAD_NAME = 2, 3, 5, 7, 11, 14, 15


class Stage(StrEnum):
    CONNECTED = "connected"  # nothing was said
    GREETED = "greeted"  # both identifications
    OFFERED = "offered"  # both KEXINITs, with strict kex
    KEYS = "keys"
    SERVICE = "service"  # logins may begin
    IN = "in"
    CHANNEL = "channel"  # one, with sftp


class Is(StrEnum):
    CLOSED = "closed"
    GOES_ON = "goes on"


CLOSED, GOES_ON = Is.CLOSED, Is.GOES_ON


class Raw(bytes):
    """Not to be packed."""


@dataclass(frozen=True, slots=True)
class Message:
    """The type of an answer."""

    kind: int


Act: TypeAlias = Callable[[RawSsh], Awaitable[None]]
Row: TypeAlias = tuple[str, tuple[bytes, ...] | Act, int | Is | Message]
"""An attack without its stage."""


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    stage: Stage
    sends: tuple[bytes, ...] | Act
    answer: int | Is | Message

    def __str__(self) -> str:
        return self.name


def _random(count: int) -> bytes:
    return random.Random(count).randbytes(count)


_CONNECTED: Final[list[Row]] = [
    ("garbage", (Raw(_random(2000) + b"\n"),), CLOSED),
    ("no-line-end", (Raw(b"S" * 20_000),), CLOSED),
    ("ssh-1", (Raw(b"SSH-1.5-old\r\n"),), CLOSED),
    ("http", (Raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),), CLOSED),
    ("tls", (Raw(bytes.fromhex("160301020001000a") + _random(500) + b"\n"),), CLOSED),
    ("lines-before-the-greeting", (Raw(b"hello\r\n" * 3000),), CLOSED),
    ("greeting-not-ascii", (Raw(b"SSH-2.0-\xff\xfe\r\n"),), PROTOCOL_ERROR),
    ("greeting-too-long", (Raw(b"SSH-2.0-" + b"x" * 1000 + b"\r\n"),), CLOSED),
    ("proxy-header-nobody-asked-for", (Raw(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-2.0-x\r\n"),), CLOSED),
]


def _offer_of(**lists: str) -> tuple[bytes, ...]:
    return (kexinit(**lists),)  # type: ignore[arg-type]


_GREETED: Final[list[Row]] = [
    ("packet-of-4-gib", (Raw(b"\xff" * 8),), PROTOCOL_ERROR),
    ("packet-of-nothing", (Raw(u32(0) + bytes(60)),), PROTOCOL_ERROR),
    ("padding-beyond-the-packet", (Raw(u32(12) + b"\xff" + bytes(11)),), PROTOCOL_ERROR),
    ("no-padding", (Raw(u32(12) + b"\0" + b"\x14" * 11),), PROTOCOL_ERROR),
    ("offer-cut-short", (kexinit()[:40],), PROTOCOL_ERROR),
    ("offer-with-a-list-of-4-gib", (kexinit()[:17] + b"\xff" * 4 + b"x" * 20,), PROTOCOL_ERROR),
    ("offer-with-more-behind-it", (kexinit() + b"more",), PROTOCOL_ERROR),
    ("offer-of-nothing", _offer_of(kex=""), NO_KEX),
    ("downgrade-kex", _offer_of(kex="diffie-hellman-group1-sha1,diffie-hellman-group14-sha1"), NO_KEX),
    ("downgrade-host-key", _offer_of(host_keys="ssh-rsa,ssh-dss"), NO_KEX),
    ("downgrade-cipher", _offer_of(ciphers="3des-cbc,aes128-cbc,arcfour,none"), NO_KEX),
    ("downgrade-mac", _offer_of(ciphers="aes128-ctr", macs="hmac-md5,hmac-sha1-96,none"), NO_KEX),
    ("compression", _offer_of(compression="zlib,zlib@openssh.com"), NO_KEX),
    ("new-keys-first", (bytes([ssh.NEWKEYS]),), PROTOCOL_ERROR),
    ("key-exchange-without-an-offer", (bytes([ssh.ECDH_INIT]) + string(bytes(32)),), PROTOCOL_ERROR),
    ("service-in-clear", (bytes([ssh.SERVICE_REQUEST]) + string("ssh-userauth"),), PROTOCOL_ERROR),
    ("login-in-clear", (ssh.password(USER, PASSWORD),), PROTOCOL_ERROR),
    ("login-succeeded-in-clear", (bytes([ssh.USERAUTH_SUCCESS]),), PROTOCOL_ERROR),
    ("channel-in-clear", (opening(),), PROTOCOL_ERROR),
    ("extensions-in-clear", (bytes([ssh.EXT_INFO]) + u32(0),), PROTOCOL_ERROR),
    ("terrapin-ignore-before-the-offer", (bytes([ssh.IGNORE]) + string(""), kexinit()), PROTOCOL_ERROR),
    ("a-million-lists", (kexinit(kex="a," * 100_000),), NO_KEX),
]


async def _wrong_guess(client: RawSsh) -> None:
    """The guess was another method's: its packet is not looked at, and the exchange goes on (RFC 4253, section 7)."""
    await client.offer(kexinit(f"no-such-kex,curve25519-sha256,{ssh.STRICT}", guess=True))
    await client.send(bytes([ssh.ECDH_INIT]) + string(b"for another method"))


async def _wrong_guess_twice(client: RawSsh) -> None:
    await _wrong_guess(client)
    await client.send(bytes([ssh.ECDH_INIT]) + string(b"for another method"))


_GUESSES: Final[list[Row]] = [
    ("wrong-guess", _wrong_guess, GOES_ON),
    ("wrong-guess-and-another", _wrong_guess_twice, PROTOCOL_ERROR),
]


def _point(data: bytes) -> tuple[bytes, ...]:
    return (bytes([ssh.ECDH_INIT]) + string(data),)


async def _terrapin_before_new_keys(client: RawSsh) -> None:
    await client.exchange(new_keys=False)
    await client.send(bytes([ssh.IGNORE]) + string("moves the sequence number"))


async def _offer_instead_of_new_keys(client: RawSsh) -> None:
    await client.exchange(new_keys=False)
    await client.send(kexinit())


_OFFERED: Final[list[Row]] = [
    ("terrapin-ignore", (bytes([ssh.IGNORE]) + string("x"),), PROTOCOL_ERROR),
    ("terrapin-debug", (bytes([ssh.DEBUG]) + b"\0" + string("x") + string(""),), PROTOCOL_ERROR),
    ("terrapin-unimplemented", (bytes([ssh.UNIMPLEMENTED]) + u32(0),), PROTOCOL_ERROR),
    ("terrapin-unknown-message", (bytes([192]) + b"x",), PROTOCOL_ERROR),
    ("terrapin-ignore-before-new-keys", _terrapin_before_new_keys, PROTOCOL_ERROR),
    ("offer-again", (kexinit(),), PROTOCOL_ERROR),
    ("offer-instead-of-new-keys", _offer_instead_of_new_keys, PROTOCOL_ERROR),
    ("new-keys-without-an-exchange", (bytes([ssh.NEWKEYS]),), PROTOCOL_ERROR),
    ("point-of-zeros", _point(bytes(32)), PROTOCOL_ERROR),
    ("point-of-low-order", _point(b"\1" + bytes(31)), PROTOCOL_ERROR),
    ("point-too-short", _point(bytes(31)), PROTOCOL_ERROR),
    ("point-too-long", _point(_random(33)), PROTOCOL_ERROR),
    ("point-of-nothing", _point(b""), PROTOCOL_ERROR),
    ("point-of-100-kb", _point(_random(100_000)), PROTOCOL_ERROR),
    ("point-of-4-gib", (bytes([ssh.ECDH_INIT]) + b"\xff" * 4,), PROTOCOL_ERROR),
    ("reply-from-the-client", (bytes([ssh.ECDH_REPLY]) + string("") * 3,), PROTOCOL_ERROR),
    ("login-during-the-exchange", (ssh.password(USER, PASSWORD),), PROTOCOL_ERROR),
    ("disconnect", (bytes([ssh.DISCONNECT]) + u32(11) + string("bye") + string(""),), CLOSED),
    ("disconnect-not-utf-8", (bytes([ssh.DISCONNECT]) + u32(11) + string(b"\xff") + string(b"\xff"),), PROTOCOL_ERROR),
]


async def _not_authentic(client: RawSsh) -> None:
    sealed = bytearray(client.sealed(bytes([ssh.SERVICE_REQUEST]) + string("ssh-userauth")))
    sealed[-1] ^= 1
    await client.write(bytes(sealed))


async def _sealed_in_clear(client: RawSsh) -> None:
    await client.write(packet(bytes([ssh.SERVICE_REQUEST]) + string("ssh-userauth"), 16) + bytes(16))


async def _replayed(client: RawSsh) -> None:
    sealed = client.sealed(bytes([ssh.IGNORE]) + string("once"))
    await client.write(sealed + sealed)


async def _rekey_before_the_login(client: RawSsh) -> None:
    await client.send(kexinit())


_KEYS: Final[list[Row]] = [
    ("packet-not-authentic", _not_authentic, MAC_ERROR),
    ("packet-not-sealed", _sealed_in_clear, MAC_ERROR),
    ("packet-replayed", _replayed, MAC_ERROR),
    ("sealed-packet-of-4-gib", (Raw(b"\xff" * 64),), PROTOCOL_ERROR),
    ("rekey-before-the-login", _rekey_before_the_login, PROTOCOL_ERROR),
    ("new-keys-again", (bytes([ssh.NEWKEYS]),), PROTOCOL_ERROR),
    ("service-unknown", (bytes([ssh.SERVICE_REQUEST]) + string("ssh-connection"),), NO_SERVICE),
    ("service-accept-from-the-client", (bytes([ssh.SERVICE_ACCEPT]) + string("ssh-userauth"),), PROTOCOL_ERROR),
    ("channel-before-the-login", (opening(),), PROTOCOL_ERROR),
    ("forwarding-before-the-login", (bytes([ssh.GLOBAL_REQUEST]) + string("tcpip-forward") + b"\1",), PROTOCOL_ERROR),
    ("answer-nobody-asked-for", (bytes([ssh.INFO_RESPONSE]) + u32(0),), PROTOCOL_ERROR),
    ("channel-data-before-the-login", (channel_data(b"x"),), PROTOCOL_ERROR),
    ("message-empty", (b"",), PROTOCOL_ERROR),
    ("message-unknown", (bytes([192]) + b"x",), PROTOCOL_ERROR),
]


def _signed(session_id: bytes, algorithm: str = "ssh-ed25519") -> bytes:
    """A request to log in with a key that nobody knows, with a proof for that session id."""
    private = Ed25519PrivateKey.generate()
    public = string("ssh-ed25519") + string(private.public_key().public_bytes_raw())
    asked = userauth(USER, "publickey", b"\1", string(algorithm), string(public))
    signature = private.sign(string(session_id) + asked)
    return asked + string(string("ssh-ed25519") + string(signature))


async def _key_offers(client: RawSsh) -> None:
    """Fifty keys, as an agent with as many would (RFC 4252, section 7)."""
    for _ in range(50):
        public = string("ssh-ed25519") + string(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        await client.send(userauth(USER, "publickey", b"\0", string("ssh-ed25519"), string(public)))
        if not await client.wait_for(ssh.USERAUTH_FAILURE):
            return


async def _foreign_proof(client: RawSsh) -> None:
    await client.send(_signed(bytes(32)))


async def _interactive(client: RawSsh, *answers: str) -> None:
    await client.send(userauth(USER, "keyboard-interactive", string(""), string("")))
    assert await client.wait_for(ssh.INFO_REQUEST)
    await client.send(bytes([ssh.INFO_RESPONSE]) + u32(len(answers)) + b"".join(map(string, answers)))


async def _no_answers(client: RawSsh) -> None:
    await _interactive(client)


async def _a_thousand_answers(client: RawSsh) -> None:
    await _interactive(client, *["x"] * 1000)


async def _answers_that_are_not_there(client: RawSsh) -> None:
    await client.send(userauth(USER, "keyboard-interactive", string(""), string("")))
    assert await client.wait_for(ssh.INFO_REQUEST)
    await client.send(bytes([ssh.INFO_RESPONSE]) + u32(2**32 - 1))


_WRONG: Final = ssh.password("nobody", "wrong")
_FAILED: Final = Message(ssh.USERAUTH_FAILURE)
_NONE: Final = userauth(USER, "none")


async def _passwords(client: RawSsh) -> None:
    """One after the other: of those that come at once, only the last is looked at."""
    for _ in range(20):
        await client.send(_WRONG)
        if not await client.wait_for(ssh.USERAUTH_FAILURE):
            return


_SERVICE: Final[list[Row]] = [
    ("passwords", _passwords, NO_METHODS),
    ("logins-of-no-method", (_NONE,) * 200, NO_METHODS),
    ("logins-of-all-methods", (_NONE, userauth(USER, "hostbased"), userauth(USER, "gssapi-with-mic")) * 20, NO_METHODS),
    ("key-offers", _key_offers, NO_METHODS),
    ("key-with-another-sessions-proof", _foreign_proof, _FAILED),
    ("key-garbage", (userauth(USER, "publickey", b"\1", string("x"), string(b"x"), string(b"x")),), _FAILED),
    ("key-of-4-gib", (userauth(USER, "publickey", b"\0", string("ssh-ed25519"), b"\xff" * 4),), PROTOCOL_ERROR),
    ("password-change", (userauth(USER, "password", b"\1", string("old"), string("new")),), _FAILED),
    ("password-of-200-kb", (ssh.password("nobody", "x" * 200_000),), _FAILED),
    ("password-not-utf-8", (ssh.password("nobody", b"\xff\xfe"),), PROTOCOL_ERROR),
    ("answers-none", _no_answers, _FAILED),
    ("answers-a-thousand", _a_thousand_answers, _FAILED),
    ("answers-that-are-not-there", _answers_that_are_not_there, PROTOCOL_ERROR),
    ("user-name-of-100-kb", (ssh.password("x" * 100_000, "x"),), BAD_NAME),
    ("user-name-not-utf-8", (userauth(b"\xff\xfe", "none"),), BAD_NAME),
    ("user-name-with-nul", (userauth(b"a\0b", "none"),), BAD_NAME),
    ("login-for-another-service", (userauth(USER, "none", service="ssh-other"),), NO_SERVICE),
    ("login-cut-short", (userauth(USER, "password")[:20],), PROTOCOL_ERROR),
    ("success-from-the-client", (bytes([ssh.USERAUTH_SUCCESS]),), PROTOCOL_ERROR),
    ("failure-from-the-client", (bytes([ssh.USERAUTH_FAILURE]) + string("none") + b"\1",), PROTOCOL_ERROR),
    ("banner-from-the-client", (bytes([53]) + string("x") + string(""),), PROTOCOL_ERROR),
    ("channel-while-logging-in", (_NONE, opening()), PROTOCOL_ERROR),
    ("a-thousand-ignores", (bytes([ssh.IGNORE]) + string("x" * 1000),) * 1000, GOES_ON),
]


async def _rekeys(client: RawSsh) -> None:
    """Until it is enough: each costs the server a signature."""
    for _ in range(1000):
        await client.offer()
        if not client.server_kexinit:
            return
        await client.exchange()


_IN: Final[list[Row]] = [
    ("rekeys", _rekeys, PROTOCOL_ERROR),
    ("rekey-downgraded", (kexinit(ciphers="3des-cbc,none"),), NO_KEX),
    ("login-again-then-more", (_NONE, opening("x"), _NONE), PROTOCOL_ERROR),
    ("channel-number-nobody-has", (request("exec", string("x"), channel=7),), PROTOCOL_ERROR),
    ("channel-data-for-none", (channel_data(b"x", 7),), PROTOCOL_ERROR),
    ("channel-confirmed-that-was-not-asked-for", (bytes([ssh.OPEN_CONFIRMATION]) + u32(0) * 4,), PROTOCOL_ERROR),
    (
        "channel-refused-that-was-not-asked-for",
        (bytes([ssh.OPEN_FAILURE]) + u32(0) * 2 + string("") * 2,),
        PROTOCOL_ERROR,
    ),
    ("answer-to-no-request", (bytes([ssh.REQUEST_SUCCESS]),), PROTOCOL_ERROR),
    (
        "global-request-not-ascii",
        (bytes([ssh.GLOBAL_REQUEST]) + string(b"\xff") + b"\1",),
        Message(ssh.REQUEST_FAILURE),
    ),
    ("channel-type-not-ascii", (opening()[:1] + string(b"\xff") + u32(0) * 3,), Message(ssh.OPEN_FAILURE)),
    ("channel-cut-short", (opening()[:14],), PROTOCOL_ERROR),
    ("a-hundred-channels", tuple(opening(number=number) for number in range(100)), Message(ssh.OPEN_FAILURE)),
]

_CHANNEL: Final[list[Row]] = [
    ("window-overflow", (channel_data(b"\0\0\7\xd0" + bytes(32_000)),) * 200, CLOSED),
    ("data-beyond-the-packet-size", (channel_data(bytes(200_000)),), CLOSED),
    ("data-longer-than-the-packet", (bytes([ssh.DATA]) + u32(0) + u32(5000) + b"x",), PROTOCOL_ERROR),
    ("data-after-eof", (bytes([ssh.EOF]) + u32(0), channel_data(b"x")), PROTOCOL_ERROR),
    ("data-after-close", (bytes([ssh.CLOSE]) + u32(0), channel_data(b"x")), PROTOCOL_ERROR),
    ("request-after-close", (bytes([ssh.CLOSE]) + u32(0), request("exec", string("x"))), PROTOCOL_ERROR),
    ("window-beyond-2-32", (bytes([ssh.ADJUST]) + u32(0) + u32(2**32 - 1),) * 3, GOES_ON),
    ("extended-data", (bytes([ssh.EXTENDED_DATA]) + u32(0) + u32(7) + string("x"),), PROTOCOL_ERROR),
    ("subsystem-again", (request("subsystem", string("sftp")),), Message(ssh.FAILURE)),
    ("exec-beside-sftp", (request("exec", string("id")),), Message(ssh.FAILURE)),
    ("success-nobody-asked-for", (bytes([ssh.SUCCESS]) + u32(0),), PROTOCOL_ERROR),
    ("request-cut-short", (request("exec")[:8],), PROTOCOL_ERROR),
    ("sftp-packet-of-4-gib", (channel_data(b"\xff" * 4),), CLOSED),
    ("sftp-before-init", (channel_data(bytes.fromhex("00000005 0b 00000001")),), CLOSED),
    ("sftp-of-zeros", (channel_data(bytes(30_000)),), CLOSED),
]

STAGES: Final[dict[Stage, list[Row]]] = {
    Stage.CONNECTED: [*_CONNECTED],
    Stage.GREETED: [*_GREETED, *_GUESSES],
    Stage.OFFERED: [*_OFFERED],
    Stage.KEYS: [*_KEYS],
    Stage.SERVICE: [*_SERVICE],
    Stage.IN: [*_IN],
    Stage.CHANNEL: [*_CHANNEL],
}
SLOW: Final[list[tuple[str, Stage, Callable[[RawSsh], list[bytes]]]]] = [
    ("silent", Stage.CONNECTED, lambda client: []),
    ("greeting", Stage.CONNECTED, lambda client: _single(b"SSH-2.0-" + b"x" * 300)),
    ("offer", Stage.GREETED, lambda client: _single(packet(kexinit()))),
    ("silent-after-the-offer", Stage.OFFERED, lambda client: []),
    ("point", Stage.OFFERED, lambda client: _single(packet(_point(bytes(range(32)))[0]))),
    ("silent-with-keys", Stage.KEYS, lambda client: []),
    ("login", Stage.SERVICE, lambda client: _single(client.sealed(ssh.password(USER, "x" * 300)))),
    ("ignores", Stage.SERVICE, lambda client: [client.sealed(bytes([ssh.IGNORE]) + string("x")) for _ in range(300)]),
]
"""Who is slow (slow-loris): at which stage, and what then drips in, piece by piece."""


def _single(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


ATTACKS: Final = [Attack(name, stage, sends, answer) for stage, rows in STAGES.items() for name, sends, answer in rows]
