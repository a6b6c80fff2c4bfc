"""Monitoring > Topology: the picture of who reaches what, with live colours."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from usp.manager.ui import pages
from usp.manager.ui.drawing import COLUMNS, GAP_X, HEIGHT, WIDTH, picture
from usp.manager.ui.status import the_board
from usp.manager.ui.visits import Visiting

router = APIRouter(include_in_schema=False)

TOGETHER: Final = 8
"""So many servers are shown in one picture; of more, one is chosen."""


@router.get("/topology")
async def topology(visit: Visiting, server: str = "") -> Response:
    rows = (await the_board(visit.request).look()).rows
    names = [row.name for row in rows]
    if server not in names:
        server = "" if len(rows) <= TOGETHER else names[0]
    shown = picture(await visit.app.catalog(), [row for row in rows if server in ("", row.name)])
    told: dict[str, Any] = {
        "shown": shown,
        "server": server,
        "columns": COLUMNS,
        "step": WIDTH + GAP_X,
        "box": (WIDTH, HEIGHT),
    }
    if visit.partial:
        return pages.part(visit, "topology_picture.html", **told)
    whole = len(rows) <= TOGETHER
    return pages.page(visit, "topology.html", "Topology", at="topology", names=names, whole=whole, **told)
