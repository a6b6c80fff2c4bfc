"""Webhooks: who is told of events, how far, and what fails. A secret is shown once, when it is made."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form
from fastapi.responses import Response

from usp.errors import UspError
from usp.manager.api.errors import STATUS
from usp.manager.api.webhooks import NewWebhook, WantedEvents
from usp.manager.ui import pages
from usp.manager.ui.account import told
from usp.manager.ui.configuration import sent_form
from usp.manager.ui.users import checked
from usp.manager.ui.visits import Changing, Visit

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/webhooks"
FILTERS: Final = tuple(WantedEvents.model_fields)


@router.get("/webhooks")
async def webhooks(visit: Changing) -> Response:
    return await _all(visit)


async def _all(
    visit: Visit, error: UspError | None = None, given: dict[str, str] | None = None, secret: str = ""
) -> Response:
    return pages.page(
        visit,
        "webhooks.html",
        "Webhooks",
        at="webhooks",
        status=STATUS[error.kind] if error else 200,
        hooks=await visit.app.webhooks.all(),
        filters=WantedEvents.model_fields.items(),
        error=error,
        given=given or {},
        secret=secret,
    )


@router.post("/webhooks")
async def add(visit: Changing) -> Response:
    sent = await sent_form(visit)
    given = {name: (sent.get(name) or [""])[-1].strip() for name in ("name", "url", *FILTERS)}
    try:
        asked: NewWebhook = checked(
            NewWebhook,
            {"name": given["name"], "url": given["url"], "wanted": {name: given[name] for name in FILTERS}},
        )
        wanted = {name: value for name, value in asked.wanted.model_dump().items() if value}
        made = await visit.app.webhooks.add(visit.actor, asked.name, asked.url, wanted)
    except UspError as error:
        told(error)
        return await _all(visit, error, given)
    return await _all(visit, secret=made.secret.reveal())


@router.post("/webhooks/{name}/delete")
async def delete(visit: Changing, name: str) -> Response:
    await visit.app.webhooks.remove(visit.actor, name)
    return pages.onward(PATH, f"{name} is told nothing any more.")


@router.post("/webhooks/{name}/enable")
async def enable(visit: Changing, name: str, enabled: Annotated[str, Form(max_length=5)] = "") -> Response:
    on = enabled == "on"
    await visit.app.webhooks.enable(visit.actor, name, on)
    return pages.onward(PATH, f"{name} is told of events." if on else f"{name} is told nothing until you resume it.")
