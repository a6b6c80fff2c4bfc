"""What a browser keeps for us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.manager.site import Clock, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.store.keys import rotate_data_key
from usp.manager.tickets import Tickets


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock) as found:
        yield found


async def test_a_ticket_is_good_for_its_purpose_and_its_time(app: App, clock: Clock) -> None:
    tickets = Tickets(app.store, clock)
    text = tickets.seal("login", {"name": "alice"}, 60)
    assert "alice" not in text
    assert await tickets.open("login", text) == {"name": "alice"}
    assert await tickets.open("oidc", text) is None
    clock.move(59)
    assert await tickets.open("login", text) == {"name": "alice"}
    clock.move(2)
    assert await tickets.open("login", text) is None


@pytest.mark.parametrize("text", ["", "nonsense", "v1.x.y", "v1..", "ü" * 20, "x" * 5000])
async def test_what_is_no_ticket(app: App, clock: Clock, text: str) -> None:
    assert await Tickets(app.store, clock).open("login", text) is None


async def test_one_that_was_changed(app: App, clock: Clock) -> None:
    tickets = Tickets(app.store, clock)
    text = tickets.seal("login", {"name": "alice"}, 60)
    assert await tickets.open("login", text[:-4] + ("AAAA" if text[-4:] != "AAAA" else "BBBB")) is None


async def test_every_manager_opens_it_also_with_a_data_key_that_it_does_not_know_yet(
    app: App, clock: Clock, tmp_path: Path
) -> None:
    settings = app.settings
    at = app.store._database.settings
    await rotate_data_key(at, settings.encryption.key(), None, now=clock(), new_id=lambda: "a-newer-key")
    async with opened(tmp_path, clock) as other:
        text = Tickets(other.store, clock).seal("login", {"n": 1}, 60)
    assert "a-newer-key" in text
    assert await Tickets(app.store, clock).open("login", text) == {"n": 1}


async def test_a_database_that_is_away_is_no_wrong_ticket(
    app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(text: str, place: str) -> bytes:
        raise UspError("database.unavailable")

    monkeypatch.setattr(app.store, "unseal", away)
    with pytest.raises(UspError) as caught:
        await Tickets(app.store, clock).open("login", "v1.a.b")
    assert caught.value.code == "database.unavailable"
