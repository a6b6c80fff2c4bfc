"""The board: one look for all who watch, and what changed after which."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.site import ADMIN, configure, deploy, server_item
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Create, Delete
from usp.manager.store.rows import RunState
from usp.manager.ui.board import NOTHING, Board, following
from usp.status import ServerState


class Ticks:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


async def test_one_look_in_half_a_second(app: App, ticks: Ticks) -> None:
    board = Board(app, ticks)
    empty = await board.look()
    assert (empty.rows, empty.totals.servers) == ((), 0)
    await configure(app)
    assert await board.look() is empty
    board.stale()
    found = await board.look()
    assert [row.name for row in found.rows] == ["server"]
    assert found.number > empty.number
    ticks.now += 0.5
    assert (await board.look()).number == found.number, "nothing changed"


async def test_rows_have_the_number_of_the_look_that_changed_them(app: App, ticks: Ticks, clock: Clock) -> None:
    await configure(app)
    await app.write(ADMIN, [Create("proxy-servers", server_item("other", 8445))])
    board = Board(app, ticks)
    first = await board.look()
    assert first.arranged == first.told == first.number
    await app.store.servers.observed("other", ServerState.UNREACHABLE, "It is away.", at=clock())
    ticks.now += 1
    second = await board.look()
    assert [row.name for row in second.after(first.number)] == ["other"]
    assert (second.arranged, second.told) == (first.number, second.number), "the totals tell of a server in trouble"
    record = await app.server_record("server")
    await app.set_run_state(ADMIN, "proxy-servers", record.id, RunState.DRAINED)
    ticks.now += 1
    third = await board.look()
    assert [row.name for row in third.after(second.number)] == ["server"]
    assert third.told == second.number
    await app.write(ADMIN, [Delete("proxy-servers", "other")])
    ticks.now += 1
    fourth = await board.look()
    assert fourth.arranged == fourth.number
    assert fourth.after(third.number) == []


async def test_what_is_due_is_looked_up_once(app: App, ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    await configure(app)
    board, asked = Board(app, ticks), []
    due = app.pushes.due

    async def counted(*args: object) -> object:
        asked.append(args)
        return await due(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(app.pushes, "due", counted)
    for _ in range(3):
        ticks.now += 1
        assert (await board.look()).totals.due == ("server",)
    assert len(asked) == 1
    await app.pushes.push(ADMIN, "server")
    ticks.now += 1
    assert (await board.look()).totals.due == ()
    await deploy(app, "l", 2222)
    ticks.now += 1
    assert (await board.look()).totals.due == ("server",)
    assert len(asked) > 1


async def test_while_the_database_is_away_the_last_picture_stays(
    app: App, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise UspError("database.unavailable")

    await configure(app)
    board = Board(app, ticks)
    with monkeypatch.context() as patch:
        patch.setattr(app.store.items, "read", away)
        with pytest.raises(UspError, match="database"):
            await board.look()
    seen = await board.look()
    with monkeypatch.context() as patch:
        patch.setattr(app.store.items, "read", away)
        ticks.now += 1
        picture = await board.look()
        assert (picture.rows, picture.away) == (seen.rows, "the database does not answer")
    ticks.now += 1
    picture = await board.look()
    assert (picture.away, picture.number) == ("", seen.number)


async def test_other_failures_are_not_hidden(app: App, ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(app, ticks)
    await board.look()

    async def broken() -> None:
        raise UspError("internal")

    monkeypatch.setattr(app.store.items, "read", broken)
    ticks.now += 1
    with pytest.raises(UspError, match="unexpected failure"):
        await board.look()


def test_the_first_picture_is_news_even_when_it_is_empty() -> None:
    first = following(NOTHING, ())
    assert (first.number, first.arranged, first.told) == (1, 1, 1)
    assert following(first, ()) == first
