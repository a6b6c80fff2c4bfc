"""Pushing to several servers from the UI."""

from __future__ import annotations

from tests.unit.manager.site import configure
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.rollout import RolloutState, StepState
from usp.manager.ui.rollouts import TONES


def test_every_state_has_a_tone() -> None:
    assert set(TONES) == {*RolloutState, *StepState}


async def test_without_servers(admin: Browser) -> None:
    assert "There are no Proxy Servers yet" in text_of(await admin.get("/ui/pushes"))


async def test_one_is_begun_and_watched(app: App, admin: Browser) -> None:
    await configure(app)
    page = await admin.get("/ui/pushes")
    assert 'name="server" value="server" checked' in page.text, "it has changes"
    wrong = await admin.post("/ui/pushes", comment="<b>why")
    assert wrong.status_code == 422
    assert "servers" in text_of(wrong)
    assert "&lt;b&gt;why" in wrong.text, "what was typed is there"
    begun = await admin.post("/ui/pushes", server="server", canary="on", comment="<b>why")
    assert (begun.status_code, begun.headers["location"]) == (303, "/ui/pushes/1")
    made = await app.store.rollouts.get(1)
    assert (made.canary, made.force, made.comment, [step.server for step in made.steps]) == (
        True, False, "<b>why", ["server"],
    )  # fmt: skip
    text = text_of(await admin.get("/ui/pushes/1"))
    assert "running" in text
    assert "waiting" in text
    part = await admin.get("/ui/pushes/1", hx_request="true", usp_poll="1")
    assert part.text.lstrip().startswith('<div id="rollout"')
    assert "1 running" in text_of(await admin.get("/ui/pushes"))
    assert (await admin.get("/ui/pushes/9")).status_code == 404


async def test_a_reader_only_looks(app: App, reader: Browser) -> None:
    await configure(app)
    page = await reader.get("/ui/pushes")
    assert "<form" not in page.text.split("<main")[1].split("<dialog")[0]
    assert (await reader.post("/ui/pushes", server="server")).status_code == 403
