"""What the charts show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.site import Clock, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.store.rows import Event, Server
from usp.manager.ui import series
from usp.manager.ui.ledger import Ledger
from usp.manager.ui.series import Series
from usp.status import Report

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def server(bytes_in: int, bytes_out: int, sessions: int, *, boot: str = "b", age: float | None = 1.0) -> Server:
    report = Report(
        server="s", software="1", boot=boot, started_at=0.0, bytes_in=bytes_in, bytes_out=bytes_out, sessions=sessions
    )
    return Server("s", report=report, age=age)


START = round(NOW.timestamp() / series.PERIOD)


def add(found: Series, periods: int, servers: dict[str, Server]) -> None:
    found.add(START + periods, series.counted(servers))


def test_rates_of_one_and_of_all() -> None:
    found = Series()
    add(found, 0, {"a": server(1000, 0, 2), "b": server(0, 500, 1)})
    add(found, 1, {"a": server(3000, 100, 3), "b": server(1000, 500, 1)})
    assert found.of()["sessions"] == [3, 4]
    assert found.of()["in"] == [None, 300]
    assert found.of("a")["in"] == [None, 200]
    assert found.of("a")["out"] == [None, 10]
    assert found.of("a")["at"] == [NOW.timestamp(), NOW.timestamp() + 10]
    assert found.of("nobody")["sessions"] == [None, None]


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    found = Series()
    add(found, 0, {"a": server(1000, 0, 2)})
    add(found, 1, {"a": server(1000, 0, 2, age=100.0), "b": Server("b"), "c": server(0, 0, 0, age=None)})
    add(found, 2, {"a": server(5000, 0, 2)})
    add(found, 3, {"a": server(10, 0, 1, boot="another")})
    add(found, 4, {"a": server(110, 0, 1, boot="another")})
    assert found.of()["sessions"] == [2, None, 2, 1, 1]
    assert found.of()["in"] == [None, None, None, None, 10], "neither over a gap nor over a restart"


def test_a_clock_that_stands_makes_no_rate() -> None:
    found = Series()
    add(found, 0, {"a": server(0, 0, 0)})
    add(found, 0, {"a": server(9, 0, 0)})
    assert found.of()["in"] == [None, None]


def test_an_hour_is_kept() -> None:
    found = Series()
    for number in range(series.KEPT + 10):
        add(found, number, {})
    assert len(found.points) == 360
    assert found.points[-1].at - found.points[0].at == pytest.approx(3600, abs=series.PERIOD)


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_all_managers_show_the_same_also_after_a_start(
    app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Series(), Series()
    seen = {"a": server(1000, 0, 2)}

    async def all_() -> dict[str, Server]:
        return seen

    monkeypatch.setattr(app.store.servers, "all", all_)
    await series.look(app, one)
    seen = {"a": server(9000, 0, 9)}
    await series.look(app, two)
    assert one.of() == two.of(), "the first one has said what was counted at that moment"
    clock.move(10)
    await series.look(app, two)
    await series.look(app, two)
    await series.look(app, one)
    assert two.of()["sessions"] == [2, 9]
    assert one.of() == two.of()
    anew = Series()
    await series.look(app, anew)
    assert anew.of() == two.of()
    clock.move(3600)
    await series.look(app, anew)
    assert [number for number, _ in await app.store.points.after(0)] == [anew.last], "an hour is kept"


async def test_what_ended_is_followed(app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(name: str, minutes: int, **detail: int) -> Event:
        at = clock() - timedelta(minutes=minutes)
        return Event(at=at, author=name, action="session.ended", server="s", detail=detail)

    monkeypatch.setattr(series, "BATCH", 2)
    monkeypatch.setattr(series, "BATCHES", 2)
    found = Ledger()
    await series.follow(app, found)
    assert found.number == 0
    await app.store.events.add(ended("old", 70, bytes_in=9), *(ended("a", 1, bytes_in=1) for _ in range(4)))
    started = Ledger()
    await series.follow(app, started)
    assert [(each.name, each.sessions) for each in started.top(9)] == [("a", 4)]
    await app.store.events.add(ended("b", 0, bytes_out=7))
    for each in (found, started):
        for _ in range(3):
            await series.follow(app, each)
        assert [(one.name, one.bytes) for one in each.top(9)] == [("b", 7), ("a", 4)]
    clock.move(3700)
    late = Ledger()
    await series.follow(app, late)
    assert late.number == 6
    assert late.top(9) == []


async def test_watching_goes_on_when_the_database_was_away(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "PERIOD", 0.001)
    calls = 0
    real = app.store.points.after

    async def after(moment: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise UspError("database.unavailable")
        return await real(moment)

    monkeypatch.setattr(app.store.points, "after", after)
    found, ledger = Series(), Ledger()
    task = asyncio.ensure_future(series.watch(app, found, ledger))
    while not found.points:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])  # before the database is closed, as the daemon does
    assert calls > 1
