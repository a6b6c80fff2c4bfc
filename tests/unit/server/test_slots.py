"""What a slot does beyond what test_supervisor.py shows: workers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from tests.unit.server.support import WORKER, listener, settings, snapshot, until
from usp import metrics, tasks
from usp.diagnosis import KeyScan
from usp.errors import UspError
from usp.server import slots
from usp.server.messages import LinkChanged, Partner, Sessions, Start, TunnelSocket
from usp.server.slots import HeldSession, Slot, Worker
from usp.snapshot import Snapshot
from usp.status import LinkState, Outcome

GARBAGE = "import socket, sys, time; socket.socket(fileno=int(sys.argv[2])).send(b'garbage'); time.sleep(60)"
SILENT = "import time; time.sleep(60)"
DEAF = "import os, sys, time; os.close(int(sys.argv[2])); time.sleep(60)"


@contextlib.asynccontextmanager
async def running(*command: str, current: Snapshot | None = None) -> AsyncIterator[Slot]:
    start = Start(slot=0, slots=1, server="server", settings=settings().model_dump_json())
    slot = Slot(start, lambda: current, lambda line: None, metrics.Workers(), command)
    life = tasks.spawn(slot.run(), "slot")
    try:
        yield slot
    finally:
        slot.kill()
        await life


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """A worker process that never says or hears anything."""
    worker = Worker.started(0, (sys.executable, "-c", SILENT))
    yield worker
    worker.process.kill()
    worker.gone()
    await worker.process.exited


@pytest.mark.parametrize("script", [GARBAGE, DEAF])
async def test_a_worker_that_babbles_or_hangs_up_is_replaced(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "EXIT_TIMEOUT", 0.1)
    async with running(sys.executable, "-c", script) as slot:
        await until(lambda: slot.restarts > 0)
        assert slot.ready is None
        assert not slot.view().ready


async def test_a_worker_that_cannot_use_the_snapshot_in_force_is_not_ready() -> None:
    async with running(*WORKER, current=snapshot(1, listener("poison", 1))) as slot:
        await until(lambda: slot.restarts > 0)
        assert not slot.up.is_set()


async def test_the_snapshot_in_force_comes_before_ready() -> None:
    async with running(*WORKER, current=snapshot(3, listener("one", 1))) as slot:
        await asyncio.wait_for(slot.up.wait(), 5)
        assert slot.ready is not None
        assert slot.ready.version == 3
        assert slot.status().ready


async def test_silence_is_a_complaint(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PREPARE_TIMEOUT", 0.05)
    monkeypatch.setattr(slots, "POLL_TIMEOUT", 0.05)
    (complaint,) = await worker.prepare(snapshot(1), 0)
    assert "did not answer" in complaint.msg
    assert await worker.poll(1) == []
    worker.hear(Sessions(request=1))


async def test_death_answers_who_waits(worker: Worker) -> None:
    preparing = asyncio.ensure_future(worker.prepare(snapshot(1), 0))
    polling = asyncio.ensure_future(worker.poll(1))
    await asyncio.sleep(0)
    worker.gone()
    assert "ended while" in (await preparing)[0].msg
    assert await polling == []


async def test_probes_are_bounded_in_time_and_number(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LIMIT", 0.05)
    monkeypatch.setattr(slots, "MARGIN", 0.05)
    asked = [asyncio.ensure_future(worker.probe(number, KeyScan(host="h"))) for number in range(slots.MAX_PROBES)]
    await asyncio.sleep(0)
    with pytest.raises(UspError) as refused:
        await worker.probe(99, KeyScan(host="h"))
    assert refused.value.code == "probe.busy"
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [error.code for error in answers if isinstance(error, UspError)] == ["server.unreachable"] * len(asked)


async def test_a_worker_that_does_not_read_is_given_nothing_more(worker: Worker) -> None:
    one, other = socket.socketpair()
    with one, other:
        sent = 0
        while worker.give_tunnel(TunnelSocket(link=f"link{sent}", tunnel="t", peer_host="192.0.2.1", peer_port=1), one):
            sent += 1
            assert sent < 10_000
        assert len(worker.links) == sent
        ticket = Partner(session="s", version=1, listener="l", node="n", peer_host="192.0.2.1", peer_port=1)
        assert not worker.give_partner(HeldSession(ticket, "l", "n"), one)
        assert worker.sessions == {}


async def test_links_are_booked_until_down(worker: Worker) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert worker.give_tunnel(TunnelSocket(link="k", tunnel="t", peer_host="192.0.2.1", peer_port=1), one)
    changed = LinkChanged(link="k", tunnel="t", state=LinkState.UP, client="c", version="1.0")
    worker.hear(changed)
    assert (worker.links["k"].link.client, worker.links["k"].version) == ("c", "1.0")
    worker.hear(changed.model_copy(update={"state": LinkState.DRAINING, "client": "", "version": ""}))
    assert (worker.links["k"].link.state, worker.links["k"].link.client) == (LinkState.DRAINING, "c")
    for _ in range(2):
        worker.hear(changed.model_copy(update={"state": LinkState.DOWN}))
    assert worker.links == {}


def test_the_last_word_about_a_session_names_it() -> None:
    ticket = Partner(session="s", version=1, listener="id", node="id", peer_host="192.0.2.1", peer_port=7)
    line = slots._last_word(HeldSession(ticket, "partners", "outer"), Outcome.INTERNAL)
    assert '"session":"s","listener":"partners","peer":"192.0.2.1:7","node":"outer"' in line
