"""What the charts show."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from usp.errors import UspError
from usp.manager.store.rows import Server
from usp.manager.ui import series
from usp.manager.ui.series import Series
from usp.status import Report

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def server(bytes_in: int, bytes_out: int, sessions: int, *, boot: str = "b", age: float | None = 1.0) -> Server:
    report = Report(
        server="s", software="1", boot=boot, started_at=0.0, bytes_in=bytes_in, bytes_out=bytes_out, sessions=sessions
    )
    return Server("s", report=report, age=age)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_rates_of_one_and_of_all() -> None:
    found = Series()
    found.add(NOW, {"a": server(1000, 0, 2), "b": server(0, 500, 1)})
    found.add(later(10), {"a": server(3000, 100, 3), "b": server(1000, 500, 1)})
    assert found.of()["sessions"] == [3, 4]
    assert found.of()["in"] == [None, 300]
    assert found.of("a")["in"] == [None, 200]
    assert found.of("a")["out"] == [None, 10]
    assert found.of("a")["at"] == [NOW.timestamp(), later(10).timestamp()]
    assert found.of("nobody")["sessions"] == [None, None]


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    found = Series()
    found.add(NOW, {"a": server(1000, 0, 2)})
    found.add(later(10), {"a": server(1000, 0, 2, age=100.0), "b": Server("b"), "c": server(0, 0, 0, age=None)})
    found.add(later(20), {"a": server(5000, 0, 2)})
    found.add(later(30), {"a": server(10, 0, 1, boot="another")})
    found.add(later(40), {"a": server(110, 0, 1, boot="another")})
    assert found.of()["sessions"] == [2, None, 2, 1, 1]
    assert found.of()["in"] == [None, None, None, None, 10], "neither over a gap nor over a restart"


def test_a_clock_that_stands_makes_no_rate() -> None:
    found = Series()
    found.add(NOW, {"a": server(0, 0, 0)})
    found.add(NOW, {"a": server(9, 0, 0)})
    assert found.of()["in"] == [None, None]


def test_an_hour_is_kept() -> None:
    found = Series()
    for number in range(series.KEPT + 10):
        found.add(later(number * series.PERIOD), {})
    assert len(found.points) == 360
    assert found.points[-1].at - found.points[0].at == pytest.approx(3600, abs=series.PERIOD)


async def test_watching_goes_on_when_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "PERIOD", 0.0)
    calls = 0

    async def all_() -> dict[str, Server]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise UspError("database.unavailable")
        return {"a": server(0, 0, 1)}

    app = SimpleNamespace(clock=lambda: NOW, store=SimpleNamespace(servers=SimpleNamespace(all=all_)))
    found = Series()
    task = asyncio.ensure_future(series.watch(cast(Any, app), found))
    while len(found.points) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    assert found.of()["sessions"][:2] == [1, 1]
