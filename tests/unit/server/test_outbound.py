"""Dialling: every way in which a target fails has its code and an end in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from tests import tunnel_pair
from tests.unit.server.gateway import (
    HASHER,
    HOST_KEY,
    HOST_LINE,
    OTHER_KEY,
    OTHER_LINE,
    PASSWORD,
    TARGET_KEY,
    TARGET_LINE,
    USER,
    Target,
    prepared,
    rule,
    serving,
    snapshot,
)
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.errors import UspError
from usp.model import Address
from usp.secret import Secret
from usp.server import outbound
from usp.server.watch import Watch
from usp.snapshot import AccountSpec, CredentialsSpec
from usp.ssh import keys
from usp.ssh.connect import ClientConnection, Login
from usp.ssh.options import Timing, target_facing

TIMEOUT = 1.0


@asynccontextmanager
async def dialled(
    port: int, password: str = PASSWORD, pinned: str = "", timeout: float = TIMEOUT
) -> AsyncIterator[ClientConnection]:
    made = snapshot(port, pinned=pinned) if pinned else snapshot(port)
    lost: list[Exception | None] = []
    target = prepared(made).doors["l1", "n1"].target
    connection = await outbound.dial(target, Login(USER, Secret(password)), None, lost.append, timeout)
    yield connection
    connection.close()
    await connection.wait_closed()
    assert lost == [None]


async def code_of(port: int, password: str = PASSWORD, pinned: str = "", timeout: float = TIMEOUT) -> str:
    with pytest.raises(UspError) as caught:
        async with dialled(port, password, pinned, timeout):
            pass
    assert PASSWORD not in str(caught.value)
    return caught.value.code


async def test_logged_in(target: Target) -> None:
    async with dialled(target.port) as connection:
        assert connection.get_extra_info("username") == USER


async def test_what_goes_wrong(target: Target, unused_tcp_port: int) -> None:
    assert await code_of(unused_tcp_port) == "target.unreachable"
    assert await code_of(target.port, "wrong") == "target.auth_denied"
    assert target.logins == 1
    assert await code_of(target.port, pinned=OTHER_LINE) == "target.host_key_mismatch"
    await tunnel_pair.until(lambda: not target.connections)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-slow\r\n"])
async def test_one_that_hangs(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()
        await asyncio.sleep(60)

    async with tunnel_pair.target(serve) as port:
        assert await code_of(port, timeout=0.2) == "target.unreachable"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "target.refused"),
        (b"SSH-1.5-old\r\n", "target.refused"),
        (b"Not allowed at this time\r\n", "target.penalised"),
    ],
)
async def test_one_that_hangs_up(said: bytes, code: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with tunnel_pair.target(serve) as port:
        assert await code_of(port) == code


async def test_dialling_is_given_up() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with tunnel_pair.target(serve) as port:
        dialling = asyncio.ensure_future(code_of(port))
        await asyncio.sleep(0.05)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        async with asyncio.timeout(1):
            await gone.wait()


async def test_a_target_that_asks_for_both_gets_both(target: Target) -> None:
    """The target is a gateway of our own under Rule 6."""
    hashed = Secret(HASHER.hash(PASSWORD))
    account = AccountSpec(username=USER, password=hashed, public_keys=(OTHER_LINE,))
    dedicated = CredentialsSpec(username=USER, password=Secret(PASSWORD))
    both = (InboundMethod.PASSWORD_AND_PUBLIC_KEY, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED)
    mine = keys.pairs([keys.parse_private(OTHER_KEY)])
    foreign = keys.pairs([keys.parse_private(HOST_KEY)])
    async with serving(target.port, of=rule(*both, dedicated), accounts=[account]) as gateway:
        door = prepared(snapshot(gateway.port, pinned=HOST_LINE)).doors["l1", "n1"]
        login = Login(USER, Secret(PASSWORD), mine)
        connection = await outbound.dial(door.target, login, None, lambda _: None, TIMEOUT)
        connection.close()
        await connection.wait_closed()
        await gateway.outcome()
        with pytest.raises(UspError) as caught:
            await outbound.dial(door.target, Login(USER, Secret(PASSWORD), foreign), None, lambda _: None, TIMEOUT)
        assert caught.value.code == "target.auth_denied"
        await gateway.outcome()
        assert [fact["method"] for fact in gateway.told("login")] == ["publickey", "keyboard-interactive", "publickey"]
        assert gateway.told("login")[-1]["outcome"] == "auth_denied"


# --- what a target was seen to take ---


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The methods of all requests to log in, in their order."""
    found: list[bytes] = []
    really = ClientConnection.send_userauth_request

    async def send(self: ClientConnection, method: bytes, *args: bytes, **more: Any) -> None:
        found.append(method)
        await really(self, method, *args, **more)

    monkeypatch.setattr(ClientConnection, "send_userauth_request", send)
    return found


async def outcome(at: outbound.Target, login: Login) -> str:
    try:
        connection = await outbound.dial(at, login, None, lambda _: None, TIMEOUT)
    except UspError as error:
        return error.code
    connection.close()
    await connection.wait_closed()
    return "ok"


async def test_what_got_in_the_last_time_is_tried_first(target: Target, asked: list[bytes]) -> None:
    at = prepared(snapshot(target.port)).doors["l1", "n1"].target
    good, wrong = (Login(USER, Secret(password)) for password in (PASSWORD, "wrong"))
    assert [await outcome(at, login) for login in (good, good, wrong, good)] == [
        "ok", "ok", "target.auth_denied", "ok",
    ]  # fmt: skip
    method = b"keyboard-interactive"
    assert asked == [b"none", method, method, method, b"none", method]
    assert target.logins == 4, "no password is tried twice"


@pytest.mark.parametrize("habit", [b"keyboard-interactive", b"password"])
async def test_a_target_that_takes_another_method_now(
    target: Target, asked: list[bytes], habit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = prepared(snapshot(target.port)).doors["l1", "n1"].target
    login = Login(USER, Secret(PASSWORD))
    offers = tuple(method.encode() for method in login.methods)
    at.habits[offers] = habit
    supported = "kbdint_auth_supported" if habit != b"password" else "password_auth_supported"
    monkeypatch.setattr(asyncssh.SSHServerConnection, supported, lambda self: False)
    (other,) = set(offers) - {habit}
    assert await outcome(at, login) == "ok"
    assert asked == [habit, other]
    assert target.logins == 1
    assert at.habits == {}, "two were needed"
    assert [await outcome(at, login) for _ in range(2)] == ["ok", "ok"]
    assert asked[2:] == [b"none", other, other]


async def test_the_one_key_is_shown_at_once(target: Target, asked: list[bytes]) -> None:
    target.authorized = {OTHER_LINE}
    at = prepared(snapshot(target.port)).doors["l1", "n1"].target
    mine, foreign = (Login(USER, keys=keys.pairs([keys.parse_private(key)])) for key in (OTHER_KEY, HOST_KEY))
    assert [await outcome(at, login) for login in (mine, mine, foreign)] == ["ok", "ok", "target.auth_denied"]
    assert asked == [b"none", b"publickey", b"publickey", b"publickey"]
    assert target.seen == [(USER, "publickey")] * 3
    assert at.habits == {}


async def test_one_of_several_pins_is_enough(target: Target) -> None:
    made = prepared(snapshot(target.port)).doors["l1", "n1"].target
    pins = (OTHER_LINE, TARGET_LINE)
    options = target_facing(pins, made.spec.algorithms, Timing())
    connection = await outbound.dial(
        outbound.Target(made.spec, options), Login(USER, Secret(PASSWORD)), None, lambda _: None, TIMEOUT
    )
    connection.close()
    await connection.wait_closed()


@asynccontextmanager
async def reached(
    ports: Sequence[int], password: str = PASSWORD, timeout: float = TIMEOUT, watch: Watch | None = None
) -> AsyncIterator[int]:
    """Logged in at one of these ports of one target; at which."""
    made = prepared(snapshot(ports[0])).doors["l1", "n1"].target
    alternates = tuple(Address(host="127.0.0.1", port=port) for port in ports[1:])
    target = outbound.Target(made.spec.model_copy(update={"alternates": alternates}), made.options)
    watch = watch or Watch(lambda path: None, lambda health: None, timeout)
    login = Login(USER, Secret(password))
    order = watch.order(target.spec, None)
    connection, address = await outbound.reach(target, order, login, None, lambda _: None, timeout, watch)
    yield address.port
    connection.close()
    await connection.wait_closed()


async def test_the_next_address_is_tried_and_the_dead_one_then_left_alone(target: Target, unused_tcp_port: int) -> None:
    tried = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        await reader.read()

    watch = Watch(lambda path: None, lambda health: None, TIMEOUT)
    async with tunnel_pair.target(serve) as silent:
        for _ in range(3):
            async with reached([silent, unused_tcp_port, target.port], watch=watch) as port:
                assert port == target.port
    assert tried == 1
    assert target.logins == 3


async def test_none_of_them() -> None:
    with pytest.raises(UspError) as caught:
        async with reached([1, 2]):
            pass
    assert caught.value.code == "target.unreachable"


async def test_a_word_that_was_given_is_not_asked_for_elsewhere(target: Target) -> None:
    with pytest.raises(UspError) as caught:
        async with reached([target.port, target.port], password="wrong"):
            pass
    assert caught.value.code == "target.auth_denied"
    assert target.logins == 1


async def test_who_hangs_up_on_a_password_has_had_it(target: Target) -> None:
    """It may have been judged: nobody else is shown it."""
    mean = asyncio.Event()

    class Mean(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.conn = conn

        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            mean.set()
            self.conn.abort()
            return False

    key = keys.parse_private(TARGET_KEY)
    async with await asyncssh.create_server(Mean, "127.0.0.1", 0, config=None, server_host_keys=[key]) as server:
        with pytest.raises(UspError) as caught:
            async with reached([server.get_port(), target.port]):
                pass
    assert caught.value.code == "target.refused"
    assert mean.is_set()
    assert target.logins == 0
