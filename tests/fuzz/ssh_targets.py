"""Fuzz targets that need a connection: what strangers, partners and targets send over SSH, without sockets and sealing.

After the key exchange, of which a fuzzer cannot guess a byte, connections are put where they would stand then, with a
cipher that does nothing: so every byte of a packet is the fuzzer's, and the fast path reads it as it reads all.
What must not be: an error that nobody thought of (asyncssh calls it internal), an event loop that complains, an end
that is not told, and a fast path that thinks otherwise than asyncssh.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import asyncssh
from asyncssh.encryption import get_encryption
from asyncssh.packet import String, UInt32

from tests.fuzz.targets import PURE, Target
from tests.unit.server.gateway import HASHER, prepared, snapshot
from tests.unit.ssh.pump import PRIVATE, PUBLIC, FastServer, ServerEnd, StockServer, Way
from usp.algorithms import Algorithms
from usp.errors import UspError
from usp.passwords import Passwords
from usp.server.admission import Admission
from usp.server.inbound import ChannelGrant, PartnerServer, SftpChannel
from usp.server.trials import Trial, free
from usp.ssh import aead, connect, options
from usp.ssh.login import LoginClient, PartnerConnection, TargetConnection
from usp.status import Outcome

SSH: Final[dict[str, Target]] = {}
TARGETS: Final[dict[str, Target]] = PURE | SSH
ATTEMPTS: Final = 64
"""Requests to log in that one input can hold."""
_GCM: Final = b"aes128-gcm@openssh.com"
_LOOP: Final = asyncio.new_event_loop()
_DOOR: Final = prepared(snapshot(1)).doors["l1", "n1"]
_PASSWORDS: Final = Passwords(HASHER)

Result = TypeVar("Result")


def target(function: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
    def run(data: bytes) -> None:
        problems: list[dict[str, Any]] = []
        _LOOP.set_exception_handler(lambda _, context: problems.append(context))
        _LOOP.run_until_complete(function(data))
        assert not problems, problems

    SSH[function.__name__] = TARGETS[function.__name__] = run
    return function


class Plain(aead.GcmCipher):
    """Seals nothing: what is on the way is what is read."""

    def __init__(self) -> None:
        super().__init__(bytes(16), bytes(12))

    def open(self, seq: int, packet: memoryview, text: memoryview) -> None:
        text[:] = packet[4 : -aead.TAG]

    def seal(self, seq: int, packet: memoryview, body: memoryview) -> None:
        packet[4 : 4 + len(body)] = bytes(body)

    def encrypt_and_sign(self, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        return header + data, bytes(aead.TAG)

    def verify_and_decrypt(self, header: bytes, data: bytes, mac: bytes) -> bytes | None:
        self.stash = None
        return data


def framed(payload: bytes, block: int = 16) -> bytes:
    """A packet as RFC 4253 has it (section 6); with GCM's blocks the length is not counted."""
    counted = len(payload) + 1 + (4 if block == 8 else 0)
    padding = 4 + -(counted + 4) % block
    return UInt32(1 + len(payload) + padding) + bytes([padding]) + payload + bytes(padding)


def sealed(payload: bytes) -> bytes:
    return framed(payload) + bytes(aead.TAG)


def payloads(data: bytes) -> list[bytes]:
    """Cut where the bytes say: two for the length, and so many."""
    found, at = list[bytes](), 0
    while at + 2 <= len(data) and len(found) < ATTEMPTS:
        size = int.from_bytes(data[at : at + 2], "big") % 4096
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def _keyed(connection: Any) -> None:
    """As after the first key exchange."""
    for way in ("_recv_encryption", "_send_encryption"):
        encryption: Any = get_encryption(_GCM, bytes(16), bytes(12), b"", b"", False)
        encryption._cipher = Plain()
        setattr(connection, way, encryption)
    connection._recv_blocksize = connection._send_blocksize = 16
    connection._recv_macsize = aead.TAG
    connection._session_id = bytes(32)
    connection._kexinit_sent, connection._kex_complete = False, True
    connection._rekey_time = _LOOP.time() + 10_000
    connection._next_service = b"ssh-userauth"
    if isinstance(connection, connect.ServerConnection | connect.ClientConnection):
        connection._sealer = aead.adopted(connection._send_encryption)
        connection.congestion.release("keys")


def _logged_in(connection: Any) -> None:
    connection._next_service = None
    connection._auth_complete = connection._auth_final = True
    connection._cancel_login_timer()


async def settled() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def hear(connection: Any, way: Way, data: bytes, size: int = 1 << 20) -> None:
    """What comes, as its transport would hand it on."""
    for at in range(0, len(data), size):
        if way._closing:
            break
        connection.data_received(data[at : at + size])
        await settled()


async def end(connection: Any, way: Way) -> None:
    connection.abort()
    await settled()
    assert way._told, "it is closed"
    connection._waiter.cancel()


def _crashes(kind: Any) -> Any:
    """The class, with a note of what asyncssh took for a bug of its own."""

    class Noted(kind):  # type: ignore[misc]
        crash: BaseException | None = None

        def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
            error = (exc_info or sys.exc_info())[1]
            if not isinstance(error, connect.MALFORMED):
                self.crash = error
            super().internal_error(exc_info, error_logger)

    return Noted


_Partner: Final = _crashes(PartnerConnection)
_Target: Final = _crashes(TargetConnection)
_Fast: Final = _crashes(FastServer)


class Stranger:
    """Whose login it is: a session whose target refuses every password."""

    def __init__(self) -> None:
        self.ending = self.barred = False
        self.username = ""
        self.connection: Any = None
        self.told: list[str] = []
        self.admission = Admission(_DOOR, _PASSWORDS, self)
        self.lost: list[Exception | None] = []

    def partner_made(self, connection: PartnerConnection) -> None:
        self.connection = connection

    def partner_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.ending = True

    def named(self, username: str) -> None:
        self.admission.named(username)

    def channel_requested(self) -> ChannelGrant:
        async def opened() -> bool:
            return True

        return SftpChannel(self.connection, opened, lambda: False), ServerEnd(True)

    def refused(self, kind: str) -> None:
        self.told.append(kind)

    def trial(self) -> AbstractAsyncContextManager[Trial]:
        return free()

    async def dial(self, login: connect.Login) -> None:
        raise UspError("target.auth_denied")

    def admitted(self) -> None:
        raise AssertionError("nobody is let in")

    def denied(self) -> None:
        self.told.append("denied")

    def fail(self, error: UspError) -> None:
        raise AssertionError(error)

    def exhausted(self, outcome: Outcome) -> None:
        self.ending = True
        self.connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many")

    def tell_login(self, outcome: str, **facts: str) -> None:
        assert outcome != "ok"


def _made(kind: Any, used: Any, owner: Callable[[], Any]) -> tuple[Any, Way]:
    used.protocol_factory = owner
    used.waiter = _LOOP.create_future()
    used.waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    way = Way()
    connection = way.protocol = kind(_LOOP, used, wait="auth")
    connection.connection_made(way)
    return connection, way


def _stranger() -> tuple[Any, Way, Stranger]:
    stranger = Stranger()
    made = _made(_Partner, options.one_use(_DOOR.options), lambda: PartnerServer(stranger, stranger.admission))
    return *made, stranger


def _fine(connection: Any, way: Way) -> None:
    """It lives, or its end was told: no crash, and nothing kept that was not asked for."""
    assert connection.crash is None, repr(connection.crash)
    assert len(connection._inpbuf) <= connection._max_recv_pktlen + 64
    assert len(way.waiting) < 200_000


@target
async def ssh_before_keys(data: bytes) -> None:
    """A stranger, from the first byte on. The first says whether the greeting was right, and whether the rest is in
    whole packets."""
    if not data:
        return
    connection, way, stranger = _stranger()
    start = b"SSH-2.0-x\r\n" if data[0] & 1 else b""
    body = b"".join(framed(each, 8) for each in payloads(data[1:])) if data[0] & 2 else data[1:]
    await hear(connection, way, start + body, 3 if data[0] & 4 and len(body) < 300 else 1 << 20)
    _fine(connection, way)
    assert not connection._auth_complete
    assert not stranger.told
    await end(connection, way)


@target
async def ssh_logging_in(data: bytes) -> None:
    """A stranger who exchanged keys, and now wants in."""
    connection, way, stranger = _stranger()
    await hear(connection, way, b"SSH-2.0-x\r\n")
    _keyed(connection)
    await hear(connection, way, b"".join(map(sealed, payloads(data))))
    _fine(connection, way)
    assert not connection._auth_complete
    assert not connection._channels
    assert stranger.told.count("denied") <= 6
    await end(connection, way)


@target
async def ssh_logged_in(data: bytes) -> None:
    """A partner who is in: requests, channels, and what belongs to neither."""
    connection, way, _ = _stranger()
    await hear(connection, way, b"SSH-2.0-x\r\n")
    _keyed(connection)
    _logged_in(connection)
    await hear(connection, way, b"".join(map(sealed, payloads(data))))
    _fine(connection, way)
    assert len(connection._channels) <= ATTEMPTS
    await end(connection, way)


@target
async def ssh_from_target(data: bytes) -> None:
    """A target that is not what it says. First byte: its greeting, whole packets, before or after the key exchange."""
    if not data:
        return
    used = options.one_use(options.target_facing([PUBLIC], Algorithms(), options.Timing()))
    used.host, used.port, used.username, used.password = "127.0.0.1", 22, "u", "secret-password"
    connection, way = _made(_Target, used, lambda: LoginClient({}))
    greeting = b"SSH-2.0-x\r\n" if data[0] & 1 else b""
    if data[0] & 4:
        await hear(connection, way, b"SSH-2.0-x\r\n")
        _keyed(connection)
        body = b"".join(map(sealed, payloads(data[1:])))
    else:
        body = b"".join(framed(each, 8) for each in payloads(data[1:])) if data[0] & 2 else data[1:]
        body = greeting + body
    await hear(connection, way, body)
    _fine(connection, way)
    assert data[0] & 4 or b"secret-password" not in way.waiting, "nothing is shown to who has not proven its key"
    await end(connection, way)


class _Owner(asyncssh.SSHServer):
    def __init__(self) -> None:
        self.ends: list[ServerEnd] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def session_requested(self) -> Any:
        self.ends.append(ServerEnd(True))
        return self._connection.create_server_channel(encoding=None, window=4000, max_pktsize=32768), self.ends[-1]


_OPEN: Final = sealed(b"\x5a" + String("session") + UInt32(0) + UInt32(1 << 20) + UInt32(32768))
_SFTP: Final = sealed(b"\x62" + UInt32(0) + String("subsystem") + b"\1" + String("sftp"))
_SERVING: Final = options.partner_facing([PRIVATE], Algorithms(ciphers=(_GCM.decode(),)), options.Timing())


async def _judged(kind: Any, data: bytes, size: int, paused: bool) -> tuple[Any, ...]:
    """What a server with one channel makes of it: what it delivered, and how it ended."""
    owner = _Owner()
    connection, way = _made(kind, options.one_use(_SERVING), lambda: owner)
    await hear(connection, way, b"SSH-2.0-x\r\n")
    _keyed(connection)
    _logged_in(connection)
    await hear(connection, way, _OPEN)
    await hear(connection, way, _SFTP)
    served = owner.ends[0]
    if paused:
        served.channel.pause_reading()
    await hear(connection, way, data, size)
    if not served.lost:
        served.read(None)
        await settled()
    assert getattr(connection, "crash", None) is None, repr(connection.crash)
    found = [(bytes(each.got), bytes(each.errors), each.eof, each.lost, str(each.exc)) for each in owner.ends]
    gone = connection._transport is None
    await end(connection, way)
    return gone, found


@target
async def fast_path(data: bytes) -> None:
    """Packets on an open channel: the fast path delivers and ends as asyncssh does. First byte: how they are cut
    up, and whether the reader is slow; then packets, or bytes."""
    if not data:
        return
    size = (1, 7, 100, 1 << 20)[data[0] & 3]
    if data[0] & 8:
        stream = data[1:]
    else:
        # nobody but asyncssh looks into an IGNORE; below a packet's least size its own reading is off
        stream = b"".join(sealed(each) for each in payloads(data[1:]) if each and each[0] != 2)
    if size == 1 and len(stream) > 400:
        size = 16
    paused = bool(data[0] & 4)
    fast = await _judged(_Fast, stream, size, paused)
    if not data[0] & 8:
        assert fast == await _judged(StockServer, stream, 1 << 20, paused)
