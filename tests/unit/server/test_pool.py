"""Sessions share connections to their target: what they have in common, what they never share, and how it all ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import pytest_asyncio

from tests import tunnel_pair
from tests.tunnel_pair import until
from tests.unit.server.gateway import (
    HASHER,
    OTHER_LINE,
    PASSWORD,
    TARGET_KEY,
    TARGET_LINE,
    USER,
    Gateway,
    Target,
    prepared,
    rule,
    serving,
    snapshot,
)
from usp import metrics
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.errors import UspError
from usp.model import (
    Address,
)
from usp.secret import Secret
from usp.server import pool
from usp.server.pool import Destination, Lease, Pool
from usp.server.targets import places
from usp.server.watch import Watch
from usp.snapshot import AccountSpec, CredentialsSpec, PathSpec
from usp.ssh import keys
from usp.ssh.connect import Login
from usp.status import Outcome

HASHED = Secret(HASHER.hash(PASSWORD))
ROBOT = "robot"
SHARED: dict[str, Any] = {"connection_reuse": True}


def dedicated(password: str = PASSWORD) -> dict[str, Any]:
    """Rule 3: partners log in with USER's password, and the gateway with its own."""
    of = rule(
        InboundMethod.PASSWORD,
        InboundSource.ACCOUNT_REPOSITORY,
        OutboundCredentials.DEDICATED,
        CredentialsSpec(username=USER, password=Secret(password)),
    )
    accounts = (
        AccountSpec(username=USER, password=HASHED),
        AccountSpec(username="bob", password=HASHED),
        AccountSpec(username="mapped", password=HASHED, target_username=ROBOT),
    )
    return {"of": of, "accounts": accounts}


@asynccontextmanager
async def sharing(target: Target, **at_target: Any) -> AsyncIterator[Gateway]:
    async with serving(target.port, **dedicated(), **{**SHARED, **at_target}) as gateway:
        yield gateway


class Partners:
    """Partners with an open sftp channel each, until the end of the block."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connections: list[asyncssh.SSHClientConnection] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Partners:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()
        for _ in self.connections:
            await self.gateway.outcome()

    async def one(self, username: str = USER) -> asyncssh.SFTPClient:
        partner = await self._stack.enter_async_context(self.gateway.partner(username=username))
        self.connections.append(partner)
        return await partner.start_sftp_client()

    async def several(self, count: int) -> list[asyncssh.SFTPClient]:
        return [await self.one() for _ in range(count)]


def reused(gateway: Gateway) -> list[bool | None]:
    """What the audit log says of each login."""
    return [fact.get("reused") for fact in gateway.told("login")]


def connections_now() -> float:
    return float(metrics.TARGET_CONNECTIONS.labels("target")._value.get())


async def test_sessions_share_a_connection_and_nothing_else(target: Target) -> None:
    async with sharing(target) as gateway:
        async with Partners(gateway) as partners:
            clients = await partners.several(3)
            assert (len(target.connections), target.logins, connections_now()) == (1, 1, 1)
            contents = [os.urandom(1_000_000 + n) for n in range(3)]

            async def there_and_back(client: asyncssh.SFTPClient, n: int) -> object:
                async with client.open(f"/{n}", "wb") as file:
                    await file.write(contents[n])
                async with client.open(f"/{n}", "rb") as file:
                    return await file.read()

            assert await asyncio.gather(*map(there_and_back, clients, range(3))) == contents
            assert [(target.root / str(n)).read_bytes() for n in range(3)] == contents
        assert reused(gateway) == [False, True, True]
        assert [fact["reused"] for fact in gateway.told("session.ended")].count(True) == 2
        for fact in gateway.told("file.closed"):
            assert fact["session"] == f"s{fact['path'][1:]}", "each session's files are told as its own"
    assert connections_now() == 0
    await until(lambda: not target.connections)


async def test_beyond_the_limit_there_is_another_connection(target: Target) -> None:
    async with sharing(target, sessions_per_connection=2) as gateway, Partners(gateway) as partners:
        for expected in (1, 1, 2, 2, 3):
            client = await partners.one()
            await client.stat("/")
            assert len(target.connections) == expected
        partners.connections[0].close()
        await until(lambda: gateway.told("session.ended"))
        await partners.one()
        assert len(target.connections) == 3, "there was a place again"


@pytest.mark.parametrize("way", ["off", "passthrough"])
async def test_connections_that_are_never_shared(target: Target, way: str) -> None:
    made = dedicated() if way == "off" else SHARED  # of passthrough, by the default Rule
    async with serving(target.port, **made) as gateway:
        async with Partners(gateway) as partners:
            await partners.several(3)
            assert (len(target.connections), target.logins) == (3, 3)
        assert reused(gateway) == [None] * 3
        assert not target.connections


async def test_another_user_at_the_target_has_another_connection(target: Target) -> None:
    target.users[ROBOT] = PASSWORD
    async with sharing(target) as gateway, Partners(gateway) as partners:
        for name in (USER, "mapped", "bob", "mapped"):
            await partners.one(name)
        assert reused(gateway) == [False, False, True, True]
        assert [name for name, _ in target.seen] == [USER, ROBOT]


async def test_those_who_come_during_the_dial_wait_for_it(target: Target) -> None:
    async with sharing(target) as gateway:
        async with Partners(gateway) as partners:
            await asyncio.gather(*(partners.one() for _ in range(8)))
            assert (len(target.connections), target.logins) == (1, 1)
        assert sorted(map(str, reused(gateway))) == ["False", *["True"] * 7]


async def test_a_dial_that_fails_is_made_once(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(target.port, **dedicated("wrong"), **SHARED) as gateway:

        async def refused() -> None:
            with pytest.raises(asyncssh.DisconnectError):
                async with gateway.partner():
                    pass

        await asyncio.gather(*(refused() for _ in range(5)))
        assert target.logins == 1
        assert [await gateway.outcome() for _ in range(5)] == [Outcome.TARGET_DENIED] * 5
        await refused()
        assert target.logins == 2, "nothing is remembered of it"
        assert await gateway.outcome() is Outcome.TARGET_DENIED
    assert capsys.readouterr().err.count("code=target.auth_denied") == 6


@pytest.mark.parametrize("outcome", [Outcome.KILLED, Outcome.IDLE])
async def test_a_session_that_is_ended_takes_nobody_along(target: Target, outcome: Outcome) -> None:
    async with sharing(target) as gateway, Partners(gateway) as partners:
        first, second = await partners.several(2)
        file = await second.open("/kept", "wb")
        await (await first.open("/lost", "wb")).write(b"x" * 100_000)
        gateway.live[0].end(outcome)
        await until(lambda: gateway.told("session.ended"))
        (connection,) = target.connections
        assert len(connection._channels) == 1
        await file.write(b"y" * 100_000)
        await file.close()
        assert (target.root / "kept").read_bytes() == b"y" * 100_000


async def test_a_connection_that_is_lost_ends_exactly_its_sessions(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sharing(target, sessions_per_connection=2) as gateway:
        async with Partners(gateway) as partners:
            clients = await partners.several(3)
            doomed = max(target.connections, key=lambda each: len(each._channels))
            doomed.abort()
            await until(lambda: len(gateway.told("session.ended")) == 2)
            assert {fact["session"] for fact in gateway.told("session.ended")} == {"s0", "s1"}
            await clients[2].stat("/")
            await (await partners.one()).stat("/")
            assert reused(gateway)[3] is True, "on the connection that is left"
        assert [fact["outcome"] for fact in gateway.told("session.ended")][:2] == ["target_closed"] * 2
    assert capsys.readouterr().err.count("code=target.closed") == 2


async def test_a_link_that_is_lost_ends_all_that_goes_through_it(target: Target) -> None:
    async with tunnel_pair.gate() as tunnel, tunnel_pair.client(tunnel.port) as linked:
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        path = PathSpec(tunnel="t1", client="client-1")
        async with serving(target.port, path=path, link=tunnel.link, **dedicated(), **SHARED) as gateway:
            async with Partners(gateway) as partners:
                await partners.several(2)
                assert len(target.connections) == 1
                await linked.aclose()
                await until(lambda: len(gateway.told("session.ended")) == 2)
            assert [fact["outcome"] for fact in gateway.told("session.ended")] == ["tunnel_down"] * 2


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[Target]:
    """A target that takes two channels on a connection."""
    made = Target(tmp_path)
    made.max_channels = 2
    await made.start(sftp=False)
    yield made
    await made.stop()


def channels(target: Target) -> list[int]:
    return sorted(len(each._channels) for each in target.connections)


async def test_when_the_target_takes_no_more_channels_there_is_another_connection(
    small: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sharing(small) as gateway:
        async with Partners(gateway) as partners:
            for client in await partners.several(5):
                await client.stat("/")
            assert channels(small) == [1, 2, 2]
            assert reused(gateway) == [False, True, True, False, True], "what it learned holds for the connection"
            again = await partners.connections[0].start_sftp_client()
            await again.stat("/")
        assert not [each for each in gateway.pool._all if each.leases]
    assert capsys.readouterr().err.count("target.channels") == 2


async def test_several_channels_at_once_where_there_is_room_for_none(small: Target) -> None:
    async with sharing(small) as gateway, Partners(gateway) as partners:
        await partners.several(2)
        async with gateway.partner() as partner:
            clients = await asyncio.gather(*(partner.start_sftp_client() for _ in range(2)))
            await asyncio.gather(*(client.stat("/") for client in clients))
            assert channels(small) == [2, 2]
        await gateway.outcome()
        assert channels(small) == [2]


async def test_without_sharing_a_channel_too_many_is_refused_and_that_is_all(small: Target) -> None:
    async with serving(small.port) as gateway, Partners(gateway) as partners:
        first = await partners.one()
        await partners.connections[0].start_sftp_client()
        with pytest.raises(asyncssh.ChannelOpenError):
            await partners.connections[0].start_sftp_client()
        await first.stat("/")
        assert (channels(small), small.logins) == ([2], 1)


async def test_a_session_that_ends_during_its_second_dial_leaves_nothing_behind(small: Target) -> None:
    async with sharing(small) as gateway, Partners(gateway) as partners:
        first, _ = await partners.several(2)
        async with gateway.partner() as partner:
            small.judging.clear()
            opening = asyncio.ensure_future(partner.start_sftp_client())
            await until(lambda: small.logins == 2)
            partner.abort()
            with pytest.raises(asyncssh.ChannelOpenError):
                await opening
        await gateway.outcome()
        small.judging.set()
        await until(lambda: channels(small) == [2])
        await first.stat("/")
        assert len(gateway.pool._all) == 1


async def test_a_connection_that_gives_no_sign_of_life_takes_nobody(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SILENT", 0.0)
    monkeypatch.setattr(pool, "SIGN", 0.1)
    async with sharing(target) as gateway, Partners(gateway) as partners:
        first, _ = await partners.several(2)
        assert reused(gateway) == [False, True], "one that gives it does"
        (silent,) = (each._transport for each in target.connections)
        assert silent is not None
        silent.pause_reading()
        await partners.several(2)
        assert reused(gateway)[2:] == [False, True]
        silent.resume_reading()
        await first.stat("/")
        await partners.one()
        assert len(target.connections) == 2


async def test_a_session_that_leaves_something_open_spoils_the_connection(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PARTING", 0.1)
    async with sharing(target) as gateway, Partners(gateway) as partners:
        await partners.several(2)
        (deaf,) = (each._transport for each in target.connections)
        assert deaf is not None
        deaf.pause_reading()
        partners.connections[0].abort()
        await until(lambda: gateway.told("session.ended"))
        await partners.one()
        assert reused(gateway) == [False, True, False]


async def test_an_old_connection_takes_nobody(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FRESH", 0.0)
    async with sharing(target) as gateway:
        async with Partners(gateway) as partners:
            await partners.several(2)
            assert len(target.connections) == 2
        assert not target.connections, "nor is it kept"


async def test_what_nobody_uses_is_kept_for_a_while(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT", 0.2)
    async with sharing(target) as gateway:
        for _ in range(3):
            async with Partners(gateway) as partners:
                await (await partners.one()).stat("/")
            assert len(target.connections) == 1
        assert (target.logins, reused(gateway)) == (1, [False, True, True])
        await asyncio.sleep(0.1)
        async with Partners(gateway) as partners:
            await partners.one()
            await asyncio.sleep(0.2)
            assert len(target.connections) == 1, "it is in use again"
        await until(lambda: not target.connections)
        assert target.logins == 1


async def test_a_full_socket_holds_all_who_share_it(target: Target) -> None:
    async with sharing(target) as gateway, Partners(gateway) as partners:
        clients = await partners.several(2)
        (connection,) = gateway.pool._all
        connection.ssh.congestion.hold("test")
        writing = [asyncio.ensure_future(client.mkdir(f"/d{n}")) for n, client in enumerate(clients)]
        late = asyncio.ensure_future(partners.one())
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in [*writing, late])
        connection.ssh.congestion.release("test")
        await asyncio.gather(*writing)
        await (await late).stat("/d1")


class _Mute(asyncssh.SSHServerSession[bytes]):
    """At the target: grants sftp and says nothing. (asyncssh's own sftp server drops the connection of whoever goes
    without a word.)"""

    def __init__(self) -> None:
        self.closed = False

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


@pytest.mark.parametrize("leaves", ["channel", "connection"])
async def test_a_partner_who_goes_while_its_channel_is_opened_leaves_none_behind(tmp_path: Path, leaves: str) -> None:
    target = Target(tmp_path)
    opened: list[_Mute] = []

    def session() -> _Mute:
        opened.append(_Mute())
        return opened[-1]

    await target.start(session=session)
    try:
        async with sharing(target) as gateway:
            async with gateway.partner(), gateway.partner() as partner:
                (connection,) = target.connections
                assert connection._transport is not None
                connection._transport.pause_reading()
                opening = asyncio.ensure_future(partner.create_process(subsystem="sftp"))
                await until(lambda: any(each._ends for each in gateway.pool._all))
                if leaves == "connection":
                    partner.abort()
                else:
                    next(iter(partner._channels.values())).close()
                with pytest.raises(asyncssh.ChannelOpenError):
                    await opening
                connection._transport.resume_reading()
                await until(lambda: [each.closed for each in opened] == [True])
                assert target.connections == {connection}
            for _ in range(2):
                await gateway.outcome()
    finally:
        await target.stop()


# --- without partners ---


@asynccontextmanager
async def pooled(timeout: float = 2.0) -> AsyncIterator[tuple[Pool, Watch]]:
    watch = Watch(lambda path: None, lambda health: None, timeout)
    made = Pool(watch, timeout)
    yield made, watch
    await made.aclose()
    assert not made._all
    assert not made._shared


def destination(port: int, password: str = PASSWORD, **made: Any) -> Destination:
    door = prepared(snapshot(port, **dedicated(password), **{**SHARED, **made})).doors["l1", "n1"]
    assert door.dedicated is not None
    return Destination(door.target, None, None, door.dedicated, shared=True)


def ignore(exc: Exception | None) -> None:
    pass


async def test_a_new_snapshot_dials_anew_what_it_changes(target: Target) -> None:
    target.users[ROBOT] = PASSWORD
    async with pooled() as (pool, _):

        async def is_reused(wanted: Destination) -> bool:
            return (await pool.acquire(wanted, ignore)).reused

        assert not await is_reused(destination(target.port))
        assert await is_reused(destination(target.port, version=2)), "the same, made again"
        assert await is_reused(destination(target.port, version=2, banner="other"))
        assert not await is_reused(destination(target.port, sessions_per_connection=9))
        with pytest.raises(UspError, match="host key"):
            await is_reused(destination(target.port, pinned=OTHER_LINE))
        with pytest.raises(UspError) as caught:
            await is_reused(destination(target.port, password="wrong"))
        assert caught.value.code == "target.auth_denied"


async def test_another_key_is_another_login(target: Target) -> None:
    pairs = [keys.generate() for _ in range(2)]
    target.authorized = {line for _, line in pairs}
    wanted = destination(target.port)
    logins = [Login(USER, None, keys.pairs([keys.parse_private(key)])) for key, _ in (pairs[0], pairs[1], pairs[0])]
    async with pooled() as (pool, _):
        leases = [
            await pool.acquire(Destination(wanted.target, None, None, login, shared=True), ignore) for login in logins
        ]
        assert [lease.reused for lease in leases] == [False, False, True]


async def test_only_the_address_that_is_first_now_is_shared(target: Target, tmp_path: Path) -> None:
    other = Target(tmp_path)
    await other.start()
    try:
        async with pooled() as (pool, watch):
            wanted = destination(target.port, alternates=(Address(host="127.0.0.1", port=other.port),))

            async def port() -> int:
                return int((await pool.acquire(wanted, ignore)).address.rpartition(":")[2])

            first = places(wanted.target.spec, None)[0]
            assert await port() == target.port
            watch.failed(first, "target.refused")
            assert [await port(), await port()] == [other.port] * 2
            watch.answered(first)
            assert await port() == target.port
            assert (target.logins, other.logins) == (1, 1)
    finally:
        await other.stop()


class _Slow(asyncssh.SSHServer):
    """It takes its time for a login."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.gone = asyncio.Event()
        self.logins = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        self.logins += 1
        await self.go.wait()
        return True


@asynccontextmanager
async def slow() -> AsyncIterator[tuple[_Slow, Destination]]:
    made = _Slow()
    key = keys.parse_private(TARGET_KEY)
    async with await asyncssh.create_server(
        lambda: made, "127.0.0.1", 0, config=None, server_host_keys=[key]
    ) as server:
        yield made, destination(server.get_port(), pinned=TARGET_LINE)


async def test_the_first_one_gives_up_and_the_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with slow() as (target, wanted), pooled() as (pool, _):
        waiting = [asyncio.ensure_future(pool.acquire(wanted, ignore)) for _ in range(3)]
        await until(lambda: target.logins)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        target.go.set()
        leases: list[Lease] = await asyncio.gather(*waiting[1:])
        assert [lease.reused for lease in leases] == [True, True]
        assert target.logins == 1


async def test_when_all_give_up_so_does_the_dial() -> None:
    async with slow() as (target, wanted), pooled() as (pool, _):
        waiting = [asyncio.ensure_future(pool.acquire(wanted, ignore)) for _ in range(2)]
        await until(lambda: target.logins)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert not pool._all, "nobody joins it any more"
        await asyncio.wait_for(target.gone.wait(), 2)


async def test_the_end_of_the_worker_ends_a_dial() -> None:
    async with slow() as (target, wanted), pooled() as (pool, _):
        waiting = asyncio.ensure_future(pool.acquire(wanted, ignore))
        await until(lambda: target.logins)
        await pool.aclose()
        with pytest.raises(UspError):
            await waiting


async def test_a_dial_has_an_end() -> None:
    async with slow() as (_, wanted), pooled(timeout=0.2) as (pool, _):
        results = await asyncio.gather(*(pool.acquire(wanted, ignore) for _ in range(2)), return_exceptions=True)
        assert [str(each) for each in results] == ["the target did not answer in time"] * 2
        assert results[0] is not results[1]
