"""Who is connected now."""

from __future__ import annotations

import pytest

from tests.unit.manager.ui.conftest import Browser, text_of
from usp.errors import UspError
from usp.manager.app import App, LiveSession
from usp.manager.ui.sessions import matching
from usp.manager.users import Actor
from usp.status import SessionStatus


def live(id: str, username: str, server: str = "s") -> LiveSession:
    session = SessionStatus(
        id=id, listener="partners", node="n", peer="192.0.2.9:5", username=username, slot=0, since=1.0, bytes_in=2048
    )
    return LiveSession(server, session)


ONE, TWO = live("1", "alice"), live("2", "<b>bob", "other")


def test_searching() -> None:
    assert matching([ONE, TWO], "") == [ONE, TWO]
    assert matching([ONE, TWO], "ALICE 192.0.2") == [ONE]
    assert matching([ONE, TWO], "partners other") == [TWO]
    assert matching([ONE, TWO], "nobody") == []


@pytest.fixture
def connected(app: App, monkeypatch: pytest.MonkeyPatch) -> list[LiveSession]:
    found = [ONE, TWO]

    async def sessions() -> tuple[list[LiveSession], dict[str, str]]:
        return list(found), {"far": "it does not answer"}

    async def kill(actor: Actor, id: str) -> None:
        actor.require(actor.role.ADMIN)
        if id not in ("1", "2"):
            raise UspError("item.not_found", f"there is no session '{id}'")
        found[:] = [one for one in found if one.session.id != id]

    monkeypatch.setattr(app, "sessions", sessions)
    monkeypatch.setattr(app, "kill_session", kill)
    return found


async def test_nobody(admin: Browser) -> None:
    assert "Nobody is connected" in text_of(await admin.get("/ui/sessions"))


@pytest.mark.usefixtures("connected")
async def test_the_list(admin: Browser) -> None:
    page = await admin.get("/ui/sessions")
    text = text_of(page)
    assert "alice n 192.0.2.9:5 partners s" in text
    assert "2.0 KiB" in text
    assert "far: it does not answer" in text
    assert "&lt;b&gt;bob" in page.text
    part = await admin.get("/ui/sessions?find=alice", hx_request="true")
    assert "<html" not in part.text
    assert "1 session of 2" in text_of(part)
    assert "No session matches" in text_of(await admin.get("/ui/sessions?find=zzz"))


async def test_ending_one(admin: Browser, connected: list[LiveSession]) -> None:
    await admin.get("/ui/sessions")
    assert (await admin.post("/ui/sessions/1/kill")).status_code == 303
    assert connected == [TWO]
    assert "partners s 2" not in text_of(await admin.get("/ui/sessions")), "the list is asked for anew"
    assert (await admin.post("/ui/sessions/9/kill")).status_code == 404


@pytest.mark.usefixtures("connected")
async def test_a_reader_ends_nothing(reader: Browser) -> None:
    assert "/kill" not in (await reader.get("/ui/sessions")).text
    assert (await reader.post("/ui/sessions/1/kill")).status_code == 403
