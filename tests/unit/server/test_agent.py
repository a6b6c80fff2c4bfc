from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.server.support import (
    LOOPBACK,
    connected,
    free_port,
    greeting,
    hear,
    listener,
    settings,
    snapshot,
    supervised,
    until,
)
from usp.errors import UspError
from usp.haproxy import Server, Service, render
from usp.server import agent
from usp.server.agent import Agent
from usp.server.supervisor import Supervisor
from usp.settings import AgentSettings
from usp.snapshot import ListenerSpec
from usp.status import AckResult, Intake


@contextlib.asynccontextmanager
async def running(settings: AgentSettings, advice: Callable[[str], str]) -> AsyncIterator[None]:
    made = Agent(settings, advice)
    await made.start()
    try:
        yield
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def serving(advice: Callable[[str], str]) -> AsyncIterator[int]:
    port = free_port()
    async with running(AgentSettings(address=LOOPBACK, port=port), advice):
        yield port


async def ask(port: int, question: bytes | None = None) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        if question is not None:
            writer.write(question)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_one_line_about_what_is_asked() -> None:
    async with serving(lambda name: f"about {name or 'all'}") as port:
        assert await ask(port, b"partners\r\n") == b"about partners\n"
        assert await ask(port) == b"about all\n"


@pytest.mark.parametrize("question", [b"x" * 5000, b"\xff\xfe\n", b"no end of line"])
async def test_what_is_no_name_asks_nothing(question: bytes) -> None:
    async with serving(lambda name: name or "all") as port:
        with contextlib.suppress(ConnectionResetError):  # it was not read to its end
            assert await ask(port, question) == b"all\n"
        assert await ask(port, b"l\n") == b"l\n", "and it serves on"


async def test_who_hangs_up_or_says_nothing_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MAX_ASKING", 2)
    monkeypatch.setattr(agent, "PATIENCE", 0.5)
    async with serving(lambda name: "ready") as port:
        silent = [socket.create_connection((LOOPBACK, port)) for _ in range(2)]
        await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert await ask(port, b"l\n") == b"", "enough are asking"
        for each in silent:
            each.close()
        await asyncio.sleep(0.1)
        assert await ask(port, b"l\n") == b"ready\n"


# --- with the real HAProxy ---


def state(stats: Path) -> dict[str, str]:
    """The server, as HAProxy sees it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(stats))
        sock.sendall(b"show stat\n")
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    head, *lines = text.splitlines()
    names = head.lstrip("# ").split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line]
    (found,) = [row for row in rows if row["svname"] == "server"]
    return found


@contextlib.contextmanager
def balancing(folder: Path, service: Service) -> Iterator[Path]:
    """HAProxy, looking ten times as often as the generated configuration says."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not os.path.exists(program):
        pytest.skip("haproxy is not installed")
    text = render([service], stats=f"{folder}/s").replace("inter 10s", "inter 300ms")
    (folder / "cfg").write_text(text.replace("agent-inter 2s", "agent-inter 200ms"))
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([program, "-db", "-f", str(folder / "cfg")], stdout=log, stderr=log) as process,
    ):
        try:
            yield folder / "s"
        finally:
            process.terminate()


async def test_haproxy_understands_all_of_it(tmp_path: Path) -> None:
    port, agent_port, front = free_port(), free_port(), free_port()
    effective = settings(workers=1).model_copy(update={"agent": AgentSettings(port=agent_port, notice=0.5)})
    service = Service("one", LOOPBACK, front, [Server("server", LOOPBACK, port, agent_port)], banner=False)
    async with supervised(effective) as supervisor:
        assert (await supervisor.apply(snapshot(1, listener("one", port)))).result is AckResult.APPLIED
        async with running(effective.agent, supervisor.advice):
            with balancing(tmp_path, service) as stats:
                await until(stats.exists)
                await _steered(supervisor, stats, port, front)


async def _steered(supervisor: Supervisor, stats: Path, port: int, front: int) -> None:
    async def becomes(status: str, weight: str = "") -> None:
        def seen() -> bool:
            found = state(stats)
            return found["status"].startswith(status) and found["weight"] == (weight or found["weight"])

        await until(seen, 8.0)

    await becomes("UP", "100")
    async with connected(front) as (reader, _):
        assert await hear(reader)
        await becomes("UP", "99")
        supervisor.set_drained(True)
        await becomes("MAINT")
        await until(lambda: supervisor.report().intake is Intake.CLOSED)
        assert await greeting(port) == b""
        assert not reader.at_eof(), "who is there stays"
        supervisor.set_drained(False)
        await becomes("UP")
    await supervisor.stop_component(ListenerSpec, "one")
    await becomes("DOWN")
    await supervisor.start_component(ListenerSpec, "one")
    await becomes("UP")


async def test_switched_off() -> None:
    made = Agent(AgentSettings(), lambda name: "")
    await made.start()
    await made.close()


async def test_an_address_in_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        settings = AgentSettings(address=LOOPBACK, port=taken.getsockname()[1])
        with pytest.raises(UspError, match="cannot listen on agent address"):
            await Agent(settings, lambda name: "").start()
