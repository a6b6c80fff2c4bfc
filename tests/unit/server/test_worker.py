"""The real worker process, spoken to as its supervisor does."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncssh
import pytest
import uvloop

from tests.unit.server.gateway import HASHER, HOST_LINE, PASSWORD, USER, Target, rule, settings, snapshot
from usp.combinations import InboundSource, OutboundCredentials
from usp.diagnosis import KeyScan, Login, PathProbe
from usp.model import Model
from usp.secret import Secret
from usp.server import ipc, messages
from usp.snapshot import AccountSpec, CredentialsSpec, PathSpec, Snapshot
from usp.ssh import keys
from usp.status import LinkState, Outcome

Kind = TypeVar("Kind", bound=Model)


class Supervised:
    """A worker process and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self.process = process
        self.channel = ipc.supervisor_end(sock)
        self.heard: list[Model] = []

    async def hear(self, kind: type[Kind], **fields: object) -> Kind:
        """The next message of that kind; others are kept in `heard`."""
        async with asyncio.timeout(10):
            while (packet := await self.channel.receive()) is not None:
                message = packet[0]
                self.heard.append(message)
                if isinstance(message, kind) and all(getattr(message, key) == val for key, val in fields.items()):
                    return message
        raise AssertionError(f"the worker is gone without {kind.__name__}")

    async def prepare(self, made: Snapshot) -> messages.Prepared:
        fd = ipc.to_memfd(made.to_wire())
        self.channel.post(messages.Prepare(version=made.version), fds=[fd])
        os.close(fd)
        return await self.hear(messages.Prepared, version=made.version)

    async def apply(self, made: Snapshot) -> None:
        assert (await self.prepare(made)).problems == ()
        self.channel.post(messages.Commit(version=made.version))

    def admit(self, session: str, version: int = 1, node: str = "n1", **more: Any) -> socket.socket:
        """Our end of a connection that the worker gets as partner."""
        ours, theirs = socket.socketpair()
        ticket = messages.Partner(
            session=session, version=version, listener="l1", node=node, peer_host="192.0.2.1", peer_port=5, **more
        )
        assert self.channel.send(ticket, (theirs.fileno(),))
        theirs.close()
        return ours

    async def ended(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()

    def events(self) -> list[str]:
        told = [each.lines for each in self.heard if isinstance(each, messages.Events)]
        return [json.loads(line)["event"] for lines in told for line in lines]


@asynccontextmanager
async def worker(**server: Any) -> AsyncIterator[Supervised]:
    ours, theirs = ipc.pair()
    command = (sys.executable, "-m", "usp.server.worker", "--fd", str(theirs.fileno()))
    loop = "uvloop" if isinstance(asyncio.get_running_loop(), uvloop.Loop) else "asyncio"
    env = {**os.environ, "USP_LOOP": loop}
    process = await asyncio.create_subprocess_exec(*command, pass_fds=(theirs.fileno(),), env=env)
    theirs.close()
    made = Supervised(process, ours)
    start = messages.Start(slot=0, slots=1, server="s1", settings=settings(**server).model_dump_json())
    made.channel.post(start)
    try:
        assert (await made.hear(messages.Ready)).pid == process.pid
        yield made
    finally:
        made.channel.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def partner(sock: socket.socket, password: str = PASSWORD) -> AsyncIterator[asyncssh.SSHClientConnection]:
    connection = await asyncssh.connect(
        "partner",
        sock=sock,
        config=None,
        known_hosts=([keys.parse_public(HOST_LINE)], [], []),
        client_keys=None,
        username=USER,
        password=password,
    )
    try:
        yield connection
    finally:
        connection.close()
        await connection.wait_closed()


async def test_a_life(target: Target) -> None:
    async with worker() as it:
        bad = await it.prepare(snapshot(target.port, version=1, server="another"))
        assert [each.loc for each in bad.problems] == [("server",)]
        it.channel.post(messages.Abort(version=1))
        await it.apply(snapshot(target.port, version=1))

        async with partner(it.admit("a")) as one, one.start_sftp_client() as sftp:
            await sftp.mkdir("/made")
            assert (target.root / "made").is_dir()

            await it.apply(snapshot(1, version=2))  # the session keeps its snapshot
            await sftp.mkdir("/made/again")
            it.channel.post(messages.Poll(request=7))
            polled = await it.hear(messages.Sessions, request=7)
            assert [(each.id, each.username, each.peer) for each in polled.sessions] == [("a", USER, "192.0.2.1:5")]
        await it.hear(messages.SessionEnded, session="a", outcome=Outcome.COMPLETED)
        assert it.events() == ["session.started", "login", "file.mkdir", "file.mkdir", "session.ended"]

        with pytest.raises(asyncssh.DisconnectError):  # new ones get the new one
            async with partner(it.admit("b", version=2)):
                pass
        await it.hear(messages.SessionEnded, session="b", outcome=Outcome.TARGET_UNREACHABLE)

        it.admit("c", version=1).close()  # forgotten by now: a bug of the supervisor's, answered nevertheless
        await it.hear(messages.SessionEnded, session="c", outcome=Outcome.INTERNAL)
        it.channel.post(messages.Drain(seconds=5))
        samples = (await it.hear(messages.Metrics)).samples
        assert ("usp_sessions_total", ("partners", "completed"), 1.0) in samples
        assert ("usp_logins_total", ("partners", "ok"), 1.0) in samples
        assert await it.ended() == 0


async def test_kill_and_drain(target: Target) -> None:
    async with worker() as it:
        await it.apply(snapshot(target.port))
        async with partner(it.admit("a")) as one, partner(it.admit("b")) as two:
            it.channel.post(messages.Kill(session="a"))
            it.channel.post(messages.Kill(session="unknown"))
            await it.hear(messages.SessionEnded, session="a", outcome=Outcome.KILLED)
            await one.wait_closed()
            it.channel.post(messages.Drain(seconds=0.1))
            it.admit("c").close()
            await it.hear(messages.SessionEnded, session="c", outcome=Outcome.DRAINED)
            await it.hear(messages.SessionEnded, session="b", outcome=Outcome.DRAINED)
            await two.wait_closed()
        assert await it.ended() == 0


async def test_logins_are_told_and_a_username_may_be_barred(target: Target) -> None:
    async with worker() as it:
        await it.apply(snapshot(target.port))

        async def refused(session: str, password: str = PASSWORD) -> None:
            with pytest.raises(asyncssh.PermissionDenied):
                async with partner(it.admit(session), password):
                    pass
            await it.hear(messages.LoginFailed, session=session, username=USER)
            await it.hear(messages.SessionEnded, session=session)

        async def accepted(session: str, **more: Any) -> None:
            async with partner(it.admit(session, **more)):
                await it.hear(messages.Authenticated, session=session, username=USER)
            await it.hear(messages.SessionEnded, session=session)

        await refused("wrong", "wrong")
        await accepted("right")
        asked = target.logins
        it.channel.post(messages.Bar(username=USER, seconds=60))
        await refused("barred")
        assert target.logins == asked, "nobody judged it"
        await accepted("exempt", exempt=True)
        await accepted("known", known=(USER,))
        it.channel.post(messages.Bar(username=USER, seconds=0))
        await accepted("released")


async def test_credentials_of_our_own_that_the_target_refuses_are_no_failed_login(target: Target) -> None:
    """Nobody is penalised for what an administrator got wrong."""
    ours = CredentialsSpec(username=USER, password=Secret("outdated"))
    of = rule(source=InboundSource.ACCOUNT_REPOSITORY, out=OutboundCredentials.DEDICATED, dedicated=ours)
    account = AccountSpec(username=USER, password=Secret(HASHER.hash(PASSWORD)))
    async with worker() as it:
        await it.apply(snapshot(target.port, of=of, accounts=(account,)))
        with pytest.raises(asyncssh.DisconnectError):
            async with partner(it.admit("right")):
                pass
        await it.hear(messages.SessionEnded, session="right", outcome=Outcome.TARGET_DENIED)
        assert target.seen == [(USER, "password")]
        with pytest.raises(asyncssh.PermissionDenied):
            async with partner(it.admit("wrong"), "wrong"):
                pass
        await it.hear(messages.SessionEnded, session="wrong", outcome=Outcome.AUTH_DENIED)
        assert {each.session for each in it.heard if isinstance(each, messages.LoginFailed)} == {"wrong"}


async def test_a_session_over_the_limit_is_told_so(target: Target) -> None:
    async with worker() as it:
        await it.apply(snapshot(target.port))
        async with partner(it.admit("a")) as one:
            it.channel.post(messages.Kill(session="a", outcome=Outcome.LIMIT))
            await it.hear(messages.SessionEnded, session="a", outcome=Outcome.LIMIT)
            await one.wait_closed()


async def test_the_supervisor_is_gone(target: Target) -> None:
    async with worker(drain_timeout=5.0) as it:
        await it.apply(snapshot(target.port))
        async with partner(it.admit("a")) as one, one.start_sftp_client() as sftp:
            it.channel.close()
            await asyncio.sleep(0.1)
            await sftp.mkdir("/still")
        assert await it.ended() == 0


async def test_a_probe(target: Target) -> None:
    async with worker() as it:
        to = snapshot(target.port).content.listeners[0].target
        assert to is not None
        login = Login(username=USER, password=Secret(PASSWORD))
        task = PathProbe(host=to.host, port=to.port, target=to, login=login)
        it.channel.post(messages.Probe(request=7, task=task))
        found = (await it.hear(messages.Probed, request=7)).diagnosis
        assert found.ok
        assert found.hops[-1].name == "sftp"
        it.channel.post(messages.Probe(request=8, task=KeyScan(host="h", path=PathSpec(tunnel="t1", client="c1"))))
        found = (await it.hear(messages.Probed, request=8)).diagnosis
        assert [hop.code for hop in found.hops] == ["tunnel.down"]


async def test_tunnel_sockets(target: Target) -> None:
    async with worker() as it:
        await it.apply(snapshot(target.port, path=PathSpec(tunnel="t1", client="c1")))
        for tunnel in ("t1", "t2"):  # t1 has no clients, t2 is unknown
            ours, theirs = socket.socketpair()
            socket_message = messages.TunnelSocket(link=tunnel, tunnel=tunnel, peer_host="192.0.2.1", peer_port=5)
            it.channel.post(socket_message, fds=[theirs.fileno()])
            theirs.close()
            await it.hear(messages.LinkChanged, link=tunnel, state=LinkState.DOWN)
            ours.close()
        it.channel.post(messages.CloseLinks(tunnel="t1"))
        with pytest.raises(asyncssh.DisconnectError):
            async with partner(it.admit("a")):
                pass
        await it.hear(messages.SessionEnded, session="a", outcome=Outcome.TUNNEL_DOWN)


async def test_a_worker_without_descriptors_refuses_and_lives(target: Target) -> None:
    """What is sent to it finds no room: whoever it was for is refused, and who is there goes on."""
    async with worker() as it:
        made = snapshot(target.port)
        await it.apply(made)
        async with partner(it.admit("there")) as there:
            held = {int(name) for name in os.listdir(f"/proc/{it.process.pid}/fd")}
            free = next(number for number in range(1000) if number not in held)
            _, hard = resource.prlimit(it.process.pid, resource.RLIMIT_NOFILE)
            before = resource.prlimit(it.process.pid, resource.RLIMIT_NOFILE, (free, hard))
            with it.admit("refused") as refused:
                await it.hear(messages.SessionEnded, session="refused", outcome=Outcome.LIMIT)
                assert refused.recv(1) == b"", "it is closed"
            assert "no descriptor left" in (await it.prepare(made)).problems[0].msg
            with socket.socket() as sock:
                link = messages.TunnelSocket(link="l", tunnel="t1", peer_host="192.0.2.1", peer_port=5)
                it.channel.post(link, fds=[sock.fileno()])
                assert "no descriptor left" in (await it.hear(messages.LinkChanged, link="l")).reason
            resource.prlimit(it.process.pid, resource.RLIMIT_NOFILE, before)
            async with partner(it.admit("later")) as later, later.start_sftp_client() as sftp:
                await sftp.realpath(".")
            async with there.start_sftp_client() as sftp:
                await sftp.realpath(".")


async def test_strangers_are_shown_to_the_target_by_leave_of_the_supervisor_only(target: Target) -> None:
    async with worker(target_failures=2) as it:
        await it.apply(snapshot(target.port))

        async def asked(session: str, *, granted: bool) -> messages.MayTry:
            question = await it.hear(messages.MayTry, session=session, username=USER, target="target")
            it.channel.post(messages.Verdict(attempt=question.attempt, granted=granted))
            return question

        question = asyncio.ensure_future(asked("a", granted=False))
        with pytest.raises(asyncssh.PermissionDenied):
            async with partner(it.admit("a", exempt=False)):
                pass
        await question
        await it.hear(messages.LoginFailed, session="a")
        assert target.logins == 0
        question = asyncio.ensure_future(asked("b", granted=True))
        async with partner(it.admit("b", exempt=False)):
            attempt = (await question).attempt
            await it.hear(messages.Tried, session="b", attempt=attempt, result=messages.Result.ACCEPTED)
        async with partner(it.admit("c", exempt=True)):
            await it.hear(messages.Authenticated, session="c")
        assert target.logins == 2
