"""Webhooks: sealed, and told of each event in its order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.catalogs import NOW
from tests.contract.conftest import OpenStore
from usp.errors import UspError
from usp.manager.store import Store
from usp.manager.store.rows import Event, Webhook
from usp.secret import Secret

HOOK = Webhook("w1", "siem", "https://hooks.example/usp", Secret("whsec_x"), NOW, {"action": "file."})
LATER = NOW + timedelta(hours=1)


async def test_a_webhook_comes_back_as_it_was(store: Store, opened: OpenStore) -> None:
    await store.events.add(Event(at=NOW, author="ann", action="before"))
    (event,) = await store.events.page()
    assert await store.webhooks.all() == []
    await store.webhooks.add(HOOK)
    await store.webhooks.add(replace(HOOK, id="w0", name="another", wanted={}))
    other = await opened()
    another, siem = await other.webhooks.all()
    assert siem == replace(HOOK, told=event.number)
    assert (another.name, another.wanted) == ("another", {})
    with pytest.raises(UspError, match="there is a webhook named siem"):
        await other.webhooks.add(replace(HOOK, id="w2"))
    assert await other.webhooks.delete("siem")
    assert not await store.webhooks.delete("siem")
    assert [each.name for each in await store.webhooks.all()] == ["another"]


async def test_how_far_it_was_told(store: Store) -> None:
    await store.webhooks.add(HOOK)
    (hook,) = await store.webhooks.all()
    await store.webhooks.failed(hook, "x" * 400, since=NOW, retry_at=LATER)
    await store.webhooks.failed(hook, "HTTP 503", since=NOW, retry_at=LATER)
    (failing,) = await store.webhooks.all()
    assert (failing.failures, failing.failing_since, failing.retry_at, failing.error) == (2, NOW, LATER, "HTTP 503")
    assert not failing.due(NOW)
    assert failing.due(LATER)
    await store.webhooks.told(hook, hook.told + 5, delivered=1)
    await store.webhooks.told(hook, hook.told + 3, delivered=1)  # by a manager that was late
    await store.webhooks.told(hook, hook.told + 6, dead=1)
    (told,) = await store.webhooks.all()
    assert (told.told, told.delivered, told.dead) == (hook.told + 6, 1, 1)
    assert (told.failures, told.failing_since, told.retry_at, told.error) == (0, None, None, "")
    await store.webhooks.failed(told, "gone", since=NOW, retry_at=LATER)
    assert await store.webhooks.enable("siem", False)
    (stopped,) = await store.webhooks.all()
    assert (stopped.enabled, stopped.failures, stopped.retry_at) == (False, 0, None)
    assert not await store.webhooks.enable("nobody", True)
