"""The page of the partner kit."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, Response

from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.manager.ui import pages
from usp.manager.ui.partner import accounts, kit, listeners
from usp.manager.ui.visits import Visiting
from usp.model import HOST_PATTERN, Account, Deployment, Listener, ProxyServer, Record

router = APIRouter(include_in_schema=False)

Asked = Annotated[str, Query(max_length=400)]
FILES: Final = {"known_hosts": "known_hosts", "filezilla": "filezilla.xml", "ssh_config": "ssh_config"}
MOST: Final = 500
"""So many Accounts are a list to choose from."""


@router.get("/kit")
async def kit_page(visit: Visiting, listener: Asked = "", account: Asked = "", host: Asked = "") -> Response:
    catalog = await visit.app.catalog()
    who = catalog.get(Account.kind, account) if account else None
    found = listeners(catalog, None if listener else who)
    where = found[0] if len(found) == 1 and not listener else None
    if listener and catalog.get(Listener.kind, listener) in found:  # with Direct Mode, the target is whom they talk to
        where = catalog.get(Listener.kind, listener)
    known = accounts(catalog, item_of(Listener, where)) if where else list(catalog.of_kind(Account.kind))
    wrong = bool(host) and not re.fullmatch(HOST_PATTERN, host)
    there = host if host and not wrong else reached(catalog, where)
    return pages.page(
        visit,
        "kit.html",
        "Partner kit",
        at="kit",
        listeners=found,
        listener=where,
        accounts=known[:MOST],
        account=who,
        host=host or there,
        wrong=wrong,
        kit=kit(catalog, where, who, there) if where and there and not wrong else None,
    )


def reached(catalog: Catalog, listener: Record | None) -> str:
    """The host of a server that has the listener: what partners use is often another name, in front of it."""
    if listener is None:
        return ""
    for record, field in catalog.referrers(listener.id):
        if record.kind == Deployment.kind and field == "listener":
            server = catalog.records[item_of(Deployment, record).proxy_server]
            return item_of(ProxyServer, server).host
    return ""


@router.get("/kit/{file}")
async def download(visit: Visiting, file: str, listener: Asked, host: Asked, account: Asked = "") -> Response:
    catalog = await visit.app.catalog()
    where = catalog.get(Listener.kind, listener)
    who = catalog.get(Account.kind, account) if account else None
    name = FILES.get(file)
    if name is None or not re.fullmatch(HOST_PATTERN, host):
        return PlainTextResponse("there is no such file\n", 404, headers=pages.HEADERS)
    text = getattr(kit(catalog, where, who, host), file)
    return PlainTextResponse(text, headers={**pages.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'})
