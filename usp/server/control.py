"""The control API: how managers see and steer this server. HTTPS with mutual TLS on the management port (`web` block).

Who connects must have a certificate of the configured CA whose SAN URI is `usp://manager/NAME` (usp.tls); the right CA
with another identity is answered 403 before a byte of the body is read. Bodies are bounded in size and in time. Errors
are JSON: {"code", "message", "problems": [{"loc", "msg"}]}.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import ValidationError

from usp import tls
from usp.chain import Link
from usp.diagnosis import KeyScan, Probe
from usp.errors import Kind, Problem, UspError
from usp.log import get_logger
from usp.model import Model
from usp.plan import Spec
from usp.server.supervisor import Supervisor
from usp.server.trail import Trail
from usp.settings import ServerWeb
from usp.snapshot import ListenerSpec, Snapshot, TunnelSpec
from usp.status import AckResult, Complaint

log = get_logger(__name__)

MAX_BODY: Final = 64 * 1024 * 1024
BODY_TIMEOUT: Final = 60.0
HANDSHAKE_TIMEOUT: Final = 10.0
KEEPALIVE_TIMEOUT: Final = 75.0

STATUS: Final[dict[Kind, int]] = {
    Kind.INVALID: 400,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.STALE: 412,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.LIMITED: 429,
    Kind.TOO_LARGE: 413,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}

MAX_WAIT: Final = 30.0
"""Seconds that a manager may wait for audit lines."""
BATCH: Final = 512 * 1024
"""Bytes of audit lines in one answer."""

BOOT: Final = "USP-Boot"
"""The header that says which life of the server (`boot` of its report) a push is meant for."""

_KINDS: Final[dict[str, type[Spec]]] = {"listeners": ListenerSpec, "tunnels": TunnelSpec}

Parsed = TypeVar("Parsed", bound=Model)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SUPERVISOR: Final = web.AppKey("supervisor", Supervisor)
TRAIL: Final = web.AppKey("trail", Trail)


class Control:
    """The management port. The listening socket stays; a reload puts a new TLS context behind it."""

    def __init__(self, supervisor: Supervisor, trail: Trail, settings: ServerWeb) -> None:
        self._settings = settings
        self._context = _context(settings)
        self._runner = web.AppRunner(
            application(supervisor, trail),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            shutdown_timeout=2.0,
        )
        self._sock: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @property
    def fileno(self) -> int:
        assert self._sock is not None
        return self._sock.fileno()

    async def start(self, sock: socket.socket | None = None) -> None:
        """Listen (on a socket that is there already), or UspError("listener.unbindable")."""
        self._sock = sock or _listening(self._settings.address, self._settings.port)
        await self._runner.setup()
        await self._serve()

    async def reload(self, settings: ServerWeb) -> None:
        """New connections see the certificate, key and CA as the files have them now; established ones go on."""
        self._context = _context(settings)
        if self._server is not None:
            self._server.close()
            await self._serve()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._runner.cleanup()
        if self._sock is not None:
            self._sock.close()

    async def _serve(self) -> None:
        assert self._sock is not None
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server, sock=self._sock.dup(), ssl=self._context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
        )


def application(supervisor: Supervisor, trail: Trail) -> web.Application:
    app = web.Application(middlewares=[_errors, _managers_only], client_max_size=MAX_BODY)
    app[SUPERVISOR] = supervisor
    app[TRAIL] = trail
    app.add_routes(
        [
            web.get("/v1/status", _status),
            web.put("/v1/snapshot", _put_snapshot),
            web.get("/v1/events", _events),
            web.get("/v1/sessions", _sessions),
            web.delete("/v1/sessions/{id}", _kill_session),
            web.get("/v1/ledger", _ledger),
            web.delete("/v1/ledger/{key:.+}", _release),
            web.post("/v1/drain", _drain),
            web.post("/v1/undrain", _undrain),
            web.post("/v1/{kind:listeners|tunnels}/{id}/start", _start),
            web.post("/v1/{kind:listeners|tunnels}/{id}/stop", _stop),
            web.post("/v1/probe", _probe),
            web.post("/v1/scan-host-key", _scan),
        ]
    )
    return app


# --- around every request ---


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _refused("request.invalid", error.reason, error.status)
    except UspError as error:
        return _refused(error.code, error.message, STATUS[error.kind], error.problems)
    except Exception as error:
        log.error("control.failed", method=request.method, path=request.path, exc_info=error)
        failure = UspError("internal")
        return _refused(failure.code, failure.message, STATUS[failure.kind])


@web.middleware
async def _managers_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    identity = tls.identity(request.get_extra_info("peercert"))
    if identity is None or not identity.startswith(tls.manager_uri("")):
        log.warn("control.refused", peer=request.remote, identity=identity)
        raise UspError("server.identity", "the certificate is not that of a manager")
    return await handler(request)


# --- the requests ---


async def _status(request: web.Request) -> web.Response:
    return _answer(request.app[SUPERVISOR].report())


async def _put_snapshot(request: web.Request) -> web.Response:
    snapshot = _parsed(Snapshot, await _body(request))
    ack = await request.app[SUPERVISOR].apply(snapshot, request.headers.get(BOOT, ""))
    return _answer(ack, 409 if ack.result is AckResult.REJECTED else 200)


async def _events(request: web.Request) -> web.Response:
    """Audit lines that managers do not have. They have those of `chain` up to number `after`."""
    query = request.query
    try:
        stored = Link("", query.get("chain", ""), int(query.get("after", "0")))
        patience = min(max(float(query.get("wait", "0")), 0.0), MAX_WAIT)
    except ValueError:
        raise UspError("request.invalid", "after and wait are numbers") from None
    lines = await request.app[TRAIL].fetch(stored, BATCH, patience)
    return web.Response(body=b"\n".join(lines), content_type="application/x-ndjson")


async def _sessions(request: web.Request) -> web.Response:
    found = await request.app[SUPERVISOR].sessions()
    return web.json_response({"sessions": [session.model_dump(mode="json") for session in found]})


async def _kill_session(request: web.Request) -> web.Response:
    if not request.app[SUPERVISOR].kill_session(request.match_info["id"]):
        raise UspError("session.unknown")
    return web.Response(status=204)


async def _ledger(request: web.Request) -> web.Response:
    found = request.app[SUPERVISOR].reception.penalties()
    return web.json_response({"penalties": [penalty.model_dump(mode="json") for penalty in found]})


async def _release(request: web.Request) -> web.Response:
    request.app[SUPERVISOR].reception.release(request.match_info["key"])
    return web.Response(status=204)


async def _drain(request: web.Request) -> web.Response:
    request.app[SUPERVISOR].set_drained(True)
    return web.Response(status=204)


async def _undrain(request: web.Request) -> web.Response:
    request.app[SUPERVISOR].set_drained(False)
    return web.Response(status=204)


async def _start(request: web.Request) -> web.Response:
    kind = _KINDS[request.match_info["kind"]]
    await request.app[SUPERVISOR].start_component(kind, request.match_info["id"])
    return web.Response(status=204)


async def _stop(request: web.Request) -> web.Response:
    kind = _KINDS[request.match_info["kind"]]
    await request.app[SUPERVISOR].stop_component(kind, request.match_info["id"])
    return web.Response(status=204)


async def _probe(request: web.Request) -> web.Response:
    ask = _parsed(Probe, await _body(request))
    return _answer(await request.app[SUPERVISOR].probe(ask))


async def _scan(request: web.Request) -> web.Response:
    task = _parsed(KeyScan, await _body(request))
    return _answer(await request.app[SUPERVISOR].scan(task))


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:
        raise UspError("request.too_large")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except TimeoutError:
        raise UspError("request.invalid", f"the body did not arrive within {BODY_TIMEOUT:.0f} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise UspError("request.too_large") from None


def _parsed(model: type[Parsed], body: bytes) -> Parsed:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise UspError(
            "request.invalid",
            f"this is no {model.__name__}",
            problems=[Problem(each["loc"], each["msg"]) for each in found[:100]],
        ) from None


# --- answers ---


def _answer(model: Model, status: int = 200) -> web.Response:
    return web.Response(text=model.model_dump_json(), status=status, content_type="application/json")


def _refused(code: str, message: str, status: int, problems: tuple[Problem, ...] = ()) -> web.Response:
    complaints = [Complaint(loc=problem.loc, msg=problem.msg).model_dump(mode="json") for problem in problems]
    body: dict[str, Any] = {"code": code, "message": message, "problems": complaints}
    return web.json_response(body, status=status)


def _context(settings: ServerWeb) -> ssl.SSLContext:
    return tls.server_context(settings.tls.cert, settings.tls.key, settings.tls.ca)


def _listening(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=128
        )
    except OSError as error:
        message = f"cannot listen on management address {address}:{port}: {error.strerror}"
        raise UspError("listener.unbindable", message) from None
