"""Tools beside the forms: test an address, explain a login, read a target's host keys and pin them, download what is
public of a key or certificate."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Query
from fastapi.responses import PlainTextResponse, Response

from usp import diagnosis
from usp.diagnosis import Diagnosis
from usp.errors import Kind, Problem, UspError
from usp.manager.api.errors import STATUS
from usp.manager.api.items import PUBLIC_KINDS
from usp.manager.catalog import Catalog, Create, Update
from usp.manager.diagnose import Through
from usp.manager.explain import Question
from usp.manager.keys import public
from usp.manager.kinds import item_of
from usp.manager.store.rows import Role
from usp.manager.ui import pages
from usp.manager.ui.visits import Visit, Visiting
from usp.model import IpFilter, Listener, OutboundNode, ProxyClient, ProxyServer, PublicKey, Record, Tunnel
from usp.secret import Secret

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=4096)]
Asked = Annotated[str, Query(max_length=400)]
SHOWN: Final = (Kind.INVALID, Kind.NOT_FOUND, Kind.CONFLICT)
"""What the page itself tells."""


@router.get("/items/{kind}/{key}/public")
async def download(visit: Visiting, kind: str, key: str) -> Response:
    if kind not in PUBLIC_KINDS:
        raise HTTPException(404)
    record = (await visit.app.catalog()).get(kind, key)
    suffix, text = public(record)
    file = {"Content-Disposition": f'attachment; filename="{record.item.name}.{suffix}"'}
    return PlainTextResponse(text, headers={**pages.HEADERS, **file})


@router.post("/items/ip-filters/{key}/test")
async def verdict_of(visit: Visiting, key: str, address: Text = "") -> Response:
    verdict, error = None, None
    try:
        verdict = await visit.app.diagnostics.test_address(key, address.strip())
    except UspError as found:
        if found.kind is not Kind.INVALID:
            raise
        error = found
    if visit.partial:
        return pages.part(visit, "verdict.html", verdict=verdict, error=error)
    if error is not None:
        raise error
    return pages.onward(f"/ui/items/{IpFilter.kind}/{key}", f"{address}: {verdict}")


# --- explain ---


@router.get("/explain")
async def explain_page(visit: Visiting, server: Asked = "", listener: Asked = "") -> Response:
    return await _explained(visit, {"server": server, "listener": listener})


@router.post("/explain")
async def explain(
    visit: Visiting,
    server: Text = "",
    listener: Text = "",
    source: Text = "",
    user: Text = "",
    probe: Text = "",
    login: Text = "",
    username: Text = "",
    password: Text = "",
) -> Response:
    asked = {"server": server, "listener": listener, "source": source, "user": user, "probe": probe, "login": login}
    try:
        found = await visit.app.diagnostics.explain(Question(server, listener, source.strip(), user))
        tried = None
        if probe == "on":
            tried = await visit.app.diagnostics.probe(visit.actor, server, found, _login(login, username, password))
    except UspError as error:
        if error.kind not in SHOWN:
            raise
        return await _explained(visit, asked, error=error)
    return await _explained(visit, asked, found=found, tried=tried)


def _login(login: str, username: str, password: str) -> diagnosis.Login | str | None:
    if login == "dedicated":
        return "dedicated"
    if login != "given":
        return None
    if not (username and password):
        raise UspError("request.invalid", problems=[Problem(("username",), "give a user name and a password, too")])
    return diagnosis.Login(username=username[:255], password=Secret(password))


async def _explained(visit: Visit, asked: dict[str, str], **more: Any) -> Response:
    catalog = await visit.app.catalog()
    error = more.get("error")
    return pages.page(
        visit,
        "explain.html",
        "Explain a login",
        at="explain",
        status=STATUS[error.kind] if error else 200,
        servers=catalog.of_kind(ProxyServer.kind),
        listeners=catalog.of_kind(Listener.kind),
        asked=asked,
        **{"found": None, "tried": None, "error": None, **more},
    )


# --- host keys of targets ---


@router.get("/scan")
async def scan_page(
    visit: Visiting, node: Asked = "", host: Asked = "", port: Asked = "22", server: Asked = ""
) -> Response:
    return await _scanned(visit, {"node": node, "host": host, "port": port, "server": server})


@router.post("/scan")
async def scan(
    visit: Visiting, node: Text = "", host: Text = "", port: Text = "22", server: Text = "", through: Text = ""
) -> Response:
    asked = {"node": node, "host": host, "port": port, "server": server, "through": through}
    try:
        return await _scanned(visit, asked, found=await look(visit, **asked))
    except UspError as error:
        if error.kind not in SHOWN:
            raise
        return await _scanned(visit, asked, error=error)


async def look(visit: Visit, node: str, host: str, port: str, server: str, through: str) -> Diagnosis:
    """`through`: a Proxy Client, or "" for directly from the server."""
    visit.actor.require(Role.ADMIN)
    catalog = await visit.app.catalog()
    path = None
    if through:
        client = catalog.get(ProxyClient.kind, through)
        path = Through(item_of(ProxyClient, client).tunnel, client.id)
    if not server:
        raise UspError("request.invalid", problems=[Problem(("server",), "choose the server that shall look")])
    if node:
        return await visit.app.diagnostics.scan(visit.actor, node, server, path)
    if not (port.isascii() and port.isdecimal() and len(port) < 6):
        raise UspError("request.invalid", problems=[Problem(("port",), "must be a number from 1 to 65535")])
    return await visit.app.diagnostics.scan_address(visit.actor, host.strip(), int(port), server, path)


async def _scanned(visit: Visit, asked: dict[str, str], **more: Any) -> Response:
    catalog = await visit.app.catalog()
    error = more.get("error")
    return pages.page(
        visit,
        "scan.html",
        "Read host keys",
        at="scan",
        status=STATUS[error.kind] if error else 200,
        node=catalog.get(OutboundNode.kind, asked["node"]) if asked["node"] else None,
        servers=catalog.of_kind(ProxyServer.kind),
        clients=clients(catalog),
        asked={"through": "", **asked},
        **{"found": None, "error": None, **more},
    )


def clients(catalog: Catalog) -> list[tuple[Record, str]]:
    """Proxy Clients, and the servers that they serve."""
    found = []
    for record in catalog.of_kind(ProxyClient.kind):
        tunnel = item_of(Tunnel, catalog.records[item_of(ProxyClient, record).tunnel])
        found.append((record, catalog.records[tunnel.proxy_server].item.name))
    return found


@router.post("/scan/pin")
async def pin(visit: Visiting, node: Text = "", host: Text = "", line: Text = "") -> Response:
    """Keep a key that was read as a Public Key and, of an Outbound Node, pin it."""
    catalog = await visit.app.catalog()
    record = catalog.get(OutboundNode.kind, node) if node else None
    name = key_name(catalog, record.item.name if record else host, line)
    changes: list[Any] = [Create(PublicKey.kind, {"name": name, "public_key": line}, ("key",))]
    if record is not None:
        fields = record.item.model_dump(mode="json")
        keys = [*fields["host_keys"], name]
        changes.append(Update(OutboundNode.kind, record.id, {**fields, "host_keys": keys}, record.revision, ("node",)))
    delta = await visit.app.write(visit.actor, changes)
    if record is None:
        return pages.onward(f"/ui/items/{PublicKey.kind}/{delta.creates[0].id}", f"Kept as Public Key {name}.")
    return pages.onward(
        f"/ui/items/{OutboundNode.kind}/{record.id}", f"The key is pinned as {name}. Servers get it with the next push."
    )


def key_name(catalog: Catalog, target: str, line: str) -> str:
    """`target-ed25519`, or with a number behind it."""
    type = line.partition(" ")[0].removeprefix("ssh-").replace("ecdsa-sha2-", "ecdsa-")
    wanted = re.sub(r"[^a-zA-Z0-9_]+", "-", f"{target[:200]}-{type[:30]}").strip("-") or "host-key"
    name, number = wanted, 2
    while catalog.find(PublicKey.kind, name):
        name, number = f"{wanted}-{number}", number + 1
    return name
