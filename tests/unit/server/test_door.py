"""Draining and taking back, with a supervisor and a stand-in worker."""

from __future__ import annotations

import asyncio

from tests.unit.server.support import (
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
from usp.metrics import render
from usp.server.supervisor import Supervisor
from usp.settings import AgentSettings
from usp.snapshot import ListenerSpec, Snapshot
from usp.status import AckResult, Intake, ListenerState


async def applied(supervisor: Supervisor, made: Snapshot) -> None:
    assert (await supervisor.apply(made)).result is AckResult.APPLIED


async def test_a_drained_server_refuses_new_sessions_and_keeps_the_others() -> None:
    async with supervised(settings(workers=1)) as supervisor:
        await _drained_and_back(supervisor, free_port())


async def _drained_and_back(supervisor: Supervisor, port: int) -> None:
    await applied(supervisor, snapshot(1, listener("one", port)))
    assert supervisor.advice("one") == "ready up 100%"
    async with connected(port) as (reader, _):
        await hear(reader)
        supervisor.set_drained(True)
        supervisor.set_drained(True)
        assert await greeting(port) == b""
        assert 'usp_refused_total{reason="drained"}' in render(supervisor.counted).decode()
        report = supervisor.report()
        assert (report.intake, report.draining, report.sessions) == (Intake.CLOSED, False, 1)
        assert (report.listeners[0].state, report.listeners[0].reason) == (
            ListenerState.RUNNING,
            "an administrator drained the server: new sessions are refused",
        )
        assert supervisor.advice("") == "maint # an administrator drained the server"
        assert supervisor.unready() == report.listeners[0].reason
        await applied(supervisor, snapshot(2, listener("one", port)))
        assert await greeting(port) == b"", "a push takes nothing back"
        assert not reader.at_eof()
    await until(lambda: supervisor.report().sessions == 0)
    supervisor.set_drained(False)
    assert supervisor.advice("one") == "ready up 100%"
    assert (await greeting(port)).split()[1] == b"2"
    await supervisor.stop_component(ListenerSpec, "one")
    assert supervisor.advice("one") == "down # no listener 'one' listens here"


async def test_load_balancers_are_told_of_a_drain_before_anybody_is_refused() -> None:
    effective = settings(workers=1).model_copy(update={"agent": AgentSettings(port=free_port(), notice=0.3)})
    port = free_port()
    async with supervised(effective) as supervisor:
        await applied(supervisor, snapshot(1, listener("one", port)))
        supervisor.set_drained(True)
        assert supervisor.report().intake is Intake.CLOSING
        assert supervisor.advice("one").startswith("maint")
        assert await greeting(port)
        await until(lambda: supervisor.report().intake is Intake.CLOSED)
        assert await greeting(port) == b""
        supervisor.set_drained(False)
        supervisor.set_drained(True)
        supervisor.set_drained(False)
        await asyncio.sleep(0.4)
        assert supervisor.report().intake is Intake.OPEN, "what was taken back does not come later"


async def test_a_server_that_restarts_is_drained_from_its_first_moment() -> None:
    effective = settings(workers=1).model_copy(update={"agent": AgentSettings(port=free_port())})
    port = free_port()
    async with supervised(effective) as supervisor:
        await applied(supervisor, snapshot(1, listener("one", port)).model_copy(update={"drained": True}))
        assert await greeting(port) == b""
        assert supervisor.report().intake is Intake.CLOSED
