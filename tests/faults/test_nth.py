"""Every failure point on purpose: a link, the messages between supervisor and worker, a push, each of which fails at
its n-th step, for every n until it comes through. After each the next try works, exactly once, and nothing is left
behind: no descriptor, no task. (In tests/contract, statements of the store: test_nth_statement.py; messages to the
database: test_losing.py; steps of a manager: test_fault_points.py.)"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests import tunnel_pair
from tests.contract.test_fault_points import Fate, pushing
from tests.databases.cutting import Lost, proxy
from tests.tunnel_pair import until
from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, configure, deploy, opened
from tests.unit.server.support import free_port, greeting, listener, settings, snapshot, supervised
from usp.errors import UspError
from usp.manager.catalog import Update
from usp.server import ipc
from usp.status import PushState

pytestmark = pytest.mark.long

MANY = 60
"""More steps than any of these has."""


def held() -> tuple[int, int]:
    """Descriptors and tasks of this process."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def let_go(before: tuple[int, int]) -> None:
    try:
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), 5)
    except TimeoutError:
        raise AssertionError(f"descriptors and tasks: {before} before, {held()} after") from None


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


async def _through(gate: tunnel_pair.Gate, port: int) -> None:
    """Bytes go through the link, and come back."""
    reader, writer = await gate.link().connection.open_connection("127.0.0.1", port)
    writer.write(b"there and back")
    assert await asyncio.wait_for(reader.readexactly(14), 5) == b"there and back"
    writer.close()


async def _in_the_end(gate: tunnel_pair.Gate, port: int) -> None:
    """As soon as there is a link that is not about to be found dead."""
    async with asyncio.timeout(10):
        while True:
            await until(lambda: gate.workers[0].get("t1", "client-1"), 8)
            try:
                return await _through(gate, port)
            except (asyncssh.Error, OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("lost", Lost)
async def test_a_link_that_breaks_at_every_message(lost: Lost) -> None:
    """The n-th message of the client's is lost, or what is answered to it; the client comes again by itself."""
    reached = step = 0
    async with tunnel_pair.target(_echo) as port:
        for step in range(1, MANY):
            before = held()
            async with tunnel_pair.gate() as gate, proxy("127.0.0.1", gate.port) as line:
                line.cut_at(step, lost)
                async with tunnel_pair.client(line.port) as client:
                    await _in_the_end(gate, port)
                    assert client.links
                    cut = line.has_cut
            await let_go(before)
            reached += cut
            if not cut:
                break
    assert not cut, "more messages than thought"
    assert reached > 5
    print(f"link: {reached} messages, the {lost} lost at each: the next link is up and carries bytes")


@contextmanager
def nth(owner: Any, name: str, at: int, fail: Callable[[Any], Any]) -> Iterator[list[int]]:
    """Call number `at` of a method is `fail` instead. The list has the number of calls."""
    real, calls = getattr(owner, name), [0]

    def counted(self: Any, *args: Any) -> Any:
        calls[0] += 1
        return fail(self) if calls[0] == at else real(self, *args)

    setattr(owner, name, counted)
    try:
        yield calls
    finally:
        setattr(owner, name, real)


def _full(channel: ipc.Channel[Any]) -> bool:
    """As the kernel says it when the socket's buffer is full."""
    return False


def _dies(channel: ipc.Channel[Any]) -> bool:
    """The worker at the other end is gone at that moment."""
    pid = int.from_bytes(channel._sock.getsockopt(1, 17, 12)[:4], "little")  # SO_PEERCRED: who made the pair: us
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    raise BrokenPipeError


@pytest.mark.parametrize("fail", [_full, _dies], ids=["full", "dead"])
async def test_every_message_to_a_worker_fails(fail: Callable[[Any], Any]) -> None:
    """Two versions and two partners: whichever message fails, the next try is in force and partners are served."""
    reached, before = 0, held()
    for step in range(MANY):  # 0: nothing fails, and what is made once is made
        port = free_port()
        with nth(ipc.Channel, "_transmit", step, fail) as calls:
            async with supervised(settings(workers=1)) as supervisor:
                for version in (1, 2):
                    await _until_applied(supervisor, version, port)
                    await _until_greeted(port, version)
                assert supervisor.report().version == 2
        if not step:
            before = held()
            continue
        await let_go(before)
        if calls[0] < step:
            break
        reached += 1
    assert calls[0] < step, "more messages than thought"
    assert reached >= 6
    print(f"supervisor to worker: {reached} messages, each once {fail.__name__[1:]}: the next try is in force")


async def _until_applied(supervisor: Any, version: int, port: int) -> None:
    """As managers do it: again and again."""
    async with asyncio.timeout(15):
        while True:
            try:
                ack = await supervisor.apply(snapshot(version, listener("l", port)))
            except UspError:
                await asyncio.sleep(0.05)
                continue
            if supervisor.report().version == version:
                return
            assert ack.problems or ack.state, ack
            await asyncio.sleep(0.05)


async def _until_greeted(port: int, version: int) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                said = await greeting(port)
            except OSError:
                said = b""
            if said:
                assert said.split()[1] == str(version).encode(), "never an older version"
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("lost", Lost)
async def test_a_push_that_breaks_at_every_message(tmp_path: Path, lost: Lost) -> None:
    """The n-th message from manager to server is lost, or the answer: each version is in force once, and stays."""
    management, port, steps = free_port(), free_port(), 12
    async with (
        server(management, files(tmp_path / "tls")) as there,
        proxy("127.0.0.1", management) as line,
        opened(tmp_path, interval=0.05, timeout=2.0) as app,
        pushing(app, Fate()),
    ):
        await configure(app, line.port)
        await deploy(app, "l", port)
        for step in range(1, steps + 1):
            node = (await app.catalog()).get("inbound-nodes", "in")
            banner = {**node.item.model_dump(mode="json"), "banner": f"{step}"}
            await app.write(ADMIN, [Update("inbound-nodes", "in", banner)])
            line.cut_at(step, lost)
            assert (await app.pushes.push(ADMIN, "server")).version.number == step
            version = await app.pushes.settled("server", step, 30.0)
            assert version.push is PushState.APPLIED, (step, version)
            report = there.report()
            assert (report.version, report.digest) == (step, version.digest)
            assert (await greeting(port)).split()[1] == str(step).encode()
            await until(lambda: line.has_cut, 20)
        assert [row.number for row in await app.store.versions.page("server")] == [*range(steps, 0, -1)]
        told = await app.store.events.page(limit=1000)
        applied = [event.detail["version"] for event in told if event.action == "push.applied"]
        assert sorted(applied) == sorted(set(applied)), "each is told once"
    print(f"push: {steps} versions, the {lost} of the n-th message lost in each: all in force, each once")
