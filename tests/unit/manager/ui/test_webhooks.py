"""Webhooks in the UI."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App


async def test_from_the_first_to_the_last(app: App, admin: Browser) -> None:
    assert "Nobody is told of events yet" in text_of(await admin.get("/ui/webhooks"))
    wrong = await admin.post("/ui/webhooks", name="siem", url="ftp://x", action="<b>")
    assert wrong.status_code == 422
    assert 'value="&lt;b&gt;"' in wrong.text, "what was typed is there"
    made = await admin.post("/ui/webhooks", name="siem", url="https://hooks.example/usp", action="file.")
    (hook,) = await app.webhooks.all()
    assert (hook.name, hook.url, dict(hook.wanted)) == ("siem", "https://hooks.example/usp", {"action": "file."})
    assert f'id="secret">{hook.secret.reveal()}<' in made.text, "this once"
    page = await admin.get("/ui/webhooks")
    assert hook.secret.reveal() not in page.text
    assert "fine" in text_of(page)
    twice = await admin.post("/ui/webhooks", name="siem", url="https://hooks.example/usp")
    assert twice.status_code == 409
    await admin.post("/ui/webhooks/siem/enable")
    assert not (await app.webhooks.all())[0].enabled
    assert "stopped" in text_of(await admin.get("/ui/webhooks"))
    await admin.post("/ui/webhooks/siem/enable", enabled="on")
    now = app.clock()
    await app.store.webhooks.failed(hook, "HTTP 503", since=now, retry_at=now + timedelta(seconds=60))
    text = text_of(await admin.get("/ui/webhooks"))
    assert re.search(r"fails HTTP 503, 1 time since .* Try now", text), text
    await admin.post("/ui/webhooks/siem/delete")
    assert await app.webhooks.all() == []


async def test_a_reader_sees_none(reader: Browser) -> None:
    assert (await reader.get("/ui/webhooks")).status_code == 403
