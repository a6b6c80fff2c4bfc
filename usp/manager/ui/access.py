"""Who may talk to the managers at all: the IP Filter of UI and API, which cannot lock out whoever chooses it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form
from fastapi.responses import Response

from usp.errors import UspError
from usp.manager.api.errors import STATUS
from usp.manager.ui import pages
from usp.manager.ui.account import told
from usp.manager.ui.visits import Changing, Visit, peer
from usp.model import IpFilter

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/access"


@router.get("/access")
async def access(visit: Changing) -> Response:
    return await _shown(visit)


async def _shown(visit: Visit, error: UspError | None = None) -> Response:
    return pages.page(
        visit,
        "access.html",
        "Access",
        at="access",
        status=STATUS[error.kind] if error else 200,
        current=await visit.app.guard.current(),
        filters=(await visit.app.catalog()).of_kind(IpFilter.kind),
        address=peer(visit.request),
        error=error,
    )


@router.post("/access")
async def choose(visit: Changing, ip_filter: Annotated[str, Form(max_length=255)] = "") -> Response:
    try:
        record = await visit.app.guard.choose(visit.actor, ip_filter or None)
    except UspError as error:
        told(error)
        return await _shown(visit, error)
    return pages.onward(
        PATH, f"IP Filter {record.item.name} guards the managers." if record else "Everybody may connect."
    )
