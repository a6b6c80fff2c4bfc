"""The guided set-up, from nothing to the first transfer: a server, its files, its client, a target and a partner."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from usp.errors import Kind, Problem, UspError
from usp.manager.api.errors import STATUS
from usp.manager.catalog import Catalog, Update
from usp.manager.kinds import item_of
from usp.manager.store.rows import Role, Server
from usp.manager.ui import bundle, pages, tools, wizard
from usp.manager.ui.configuration import sent_form
from usp.manager.ui.visits import Changing, Visit, Visiting
from usp.manager.ui.wizard import Way
from usp.model import (
    CaCertificate,
    Deployment,
    Listener,
    OutboundNode,
    ProxyClient,
    ProxyServer,
    PublicKey,
    Record,
    Tunnel,
)
from usp.ssh import keys
from usp.status import LinkState

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/setup"
SERVER: Final = {
    "name": "usp-server-1",
    "port": "8444",
    "tunnel": "on",
    "tunnel_port": "2022",
    "client": "usp-client-1",
}
PARTNER: Final = {"name": "partners", "port": "22", "listener_port": "2222", "login": "accounts"}
SHOWN: Final = (Kind.INVALID, Kind.CONFLICT)
SECRETS: Final = frozenset({"partner_password", "password", "private_key", "csrf"})
PUSH_SECONDS: Final = 20.0

Asked = Annotated[str, Query(max_length=400)]


async def _given(visit: Visit) -> dict[str, str]:
    return {name: values[-1] for name, values in (await sent_form(visit)).items() if values}


@router.get("/setup")
async def setup(visit: Visiting, server: Asked = "") -> Response:
    servers = (await visit.app.catalog()).of_kind(ProxyServer.kind)
    if server == "new" or not servers:
        return _server_form(visit, dict(SERVER), servers)
    return await _way(visit, server or servers[0].id)


def _server_form(
    visit: Visit, given: dict[str, str], servers: tuple[Record, ...] = (), error: UspError | None = None
) -> Response:
    return pages.page(
        visit,
        "setup_server.html",
        "Guided set-up",
        at="setup",
        status=STATUS[error.kind] if error else 200,
        given=given,
        error=error,
        wrong=wizard.at_fields(error.problems) if error else {},
        servers=servers,
    )


@router.post("/setup/server")
async def make_server(visit: Changing) -> Response:
    given = await _given(visit)
    _, throwaway = keys.generate()
    try:
        changes = wizard.first_server(await visit.app.catalog(), given, throwaway)
        delta = await visit.app.write(visit.actor, changes)
    except UspError as error:
        if error.kind not in SHOWN:
            raise
        return _server_form(visit, given, error=error)
    made = next(record for record in delta.creates if record.kind == ProxyServer.kind)
    return pages.onward(f"{PATH}?server={made.id}", f"Proxy Server {made.item.name} was made. Now give it its files.")


async def _way(
    visit: Visit, key: str, given: dict[str, str] | None = None, error: UspError | None = None, found: Any = None
) -> Response:
    catalog = await visit.app.catalog()
    way = wizard.way(catalog, catalog.get(ProxyServer.kind, key))
    server = await visit.app.server(way.server.id)
    return pages.page(
        visit,
        "setup.html",
        "Guided set-up",
        at="setup",
        status=STATUS[error.kind] if error else 200,
        way=way,
        server=server,
        tunnel_port=item_of(Tunnel, way.tunnel).port if way.tunnel else 0,
        connected=_connected(way, server),
        due=await visit.app.pushes.due(catalog, server),
        can_sign=_signer(catalog, way.server) is not None,
        allow=_targets(catalog),
        listeners=[catalog.records[item_of(Deployment, each).listener] for each in way.deployments],
        servers=catalog.of_kind(ProxyServer.kind),
        given={**PARTNER, "name": _free_name(catalog), **(given or {})},
        error=error,
        wrong=wizard.at_fields(error.problems) if error else {},
        found=found,
    )


def _free_name(catalog: Catalog) -> str:
    return wizard.free(catalog, Listener, PARTNER["name"])


def _connected(way: Way, server: Server) -> bool:
    """Whether the client has a link."""
    if way.client is None or server.report is None:
        return False
    links = [link for tunnel in server.report.tunnels for link in tunnel.links]
    return any(link.client == way.client.item.name and link.state is LinkState.UP for link in links)


def _targets(catalog: Catalog) -> list[str]:
    found = [item_of(OutboundNode, record) for record in catalog.of_kind(OutboundNode.kind)]
    return sorted({f"[{node.host}]:{node.port}" if ":" in node.host else f"{node.host}:{node.port}" for node in found})


def _signer(catalog: Catalog, server: Record) -> CaCertificate | None:
    ca = item_of(CaCertificate, catalog.records[item_of(ProxyServer, server).ca_certificate])
    return ca if ca.private_key is not None else None


# --- files ---


@router.post("/setup/{key}/server-files")
async def server_files(visit: Changing, key: str) -> Response:
    catalog = await visit.app.catalog()
    record = catalog.get(ProxyServer.kind, key)
    ca = _signer(catalog, record)
    if ca is None:
        raise UspError(
            "key.unusable", "the private key of its CA Certificate is not here: sign its certificate elsewhere"
        )
    content = bundle.for_server(item_of(ProxyServer, record), ca, now=visit.app.clock())
    await visit.app.note(visit.actor, "server.files", record.item.name)
    return _zip(content, record.item.name)


@router.post("/setup/{key}/client-files")
async def client_files(visit: Changing, key: str) -> Response:
    """With a new key: the Proxy Client's Public Key becomes that one, and takes effect with the next push."""
    given = await _given(visit)
    catalog = await visit.app.catalog()
    way = wizard.way(catalog, catalog.get(ProxyServer.kind, key))
    if way.client is None or way.tunnel is None:
        raise UspError("item.not_found", "this server has no Proxy Client")
    allow = given.get("allow", "").split()
    wrong = [entry for entry in allow if not wizard.ALLOWED.fullmatch(entry)]
    host = given.get("host", "").strip()
    if wrong or not allow or not wizard.ALLOWED.fullmatch(host):
        field, msg = ("allow", "write one HOST:PORT a line, such as sftp.internal:22 or 10.0.0.0/8:22")
        if allow and not wrong:
            field, msg = "host", "must be a host name or an IP address"
        return await _way(visit, key, given, UspError("request.invalid", problems=[Problem((field,), msg)]))
    private, public = keys.generate(comment=way.client.item.name)
    known = catalog.records[item_of(ProxyClient, way.client).public_key]
    fields = {**known.item.model_dump(mode="json"), "public_key": public}
    await visit.app.write(visit.actor, [Update(PublicKey.kind, known.id, fields, known.revision)])
    tunnel = item_of(Tunnel, way.tunnel)
    line = str(catalog.records[tunnel.private_key].facts["public_key"])
    content = bundle.for_client(
        item_of(ProxyClient, way.client), tunnel, host, line, private, allow, now=visit.app.clock()
    )
    await visit.app.note(visit.actor, "client.files", way.client.item.name)
    return _zip(content, way.client.item.name)


def _zip(content: bytes, name: str) -> Response:
    file = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return Response(content, media_type="application/zip", headers={**pages.HEADERS, **file})


# --- push, target and partner ---


@router.post("/setup/{key}/push")
async def push(visit: Changing, key: str) -> Response:
    record = await visit.app.server_record(key)
    pushed = await visit.app.pushes.push(visit.actor, record.id, "guided set-up")
    version = await visit.app.pushes.settled(record.item.name, pushed.version.number, PUSH_SECONDS)
    said = f"Version {version.number}: {version.push}." + (f" {version.reason}" if version.reason else "")
    return pages.onward(f"{PATH}?server={record.id}", said)


@router.post("/setup/{key}/partner")
async def make_partner(visit: Changing, key: str) -> Response:
    given = await _given(visit)
    if given.get("do") == "read":
        return await _read_keys(visit, key, given)
    catalog = await visit.app.catalog()
    way = wizard.way(catalog, catalog.get(ProxyServer.kind, key))
    try:
        await visit.app.write(visit.actor, wizard.first_partner(catalog, way, given))
    except UspError as error:
        if error.kind not in SHOWN:
            raise
        return await _way(visit, key, _shown(given), error)
    return pages.onward(
        f"{PATH}?server={key}", "Target, partner and listener are configured. Push them to the server now."
    )


async def _read_keys(visit: Visit, key: str, given: dict[str, str]) -> Response:
    """What the target shows, put into the form; secrets have to be typed afterwards."""
    visit.actor.require(Role.ADMIN)
    catalog = await visit.app.catalog()
    way = wizard.way(catalog, catalog.get(ProxyServer.kind, key))
    client = way.client.id if way.client else ""
    try:
        found = await tools.look(visit, "", given.get("host", ""), given.get("port", ""), key, client)
    except UspError as error:
        if error.kind not in SHOWN:
            raise
        return await _way(visit, key, _shown(given), error)
    lines = "\n".join(each.line for each in found.host_keys)
    return await _way(visit, key, {**_shown(given), **({"host_keys": lines} if lines else {})}, found=found)


def _shown(given: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name not in SECRETS}
