"""What surrounds every request: security headers, the IP Filter, a limit for bodies, HEAD and OPTIONS, and an answer
for bugs. Plain ASGI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usp.errors import UspError
from usp.log import get_logger
from usp.manager.api import errors

log = get_logger(__name__)

MAX_BODY: Final = 16 << 20

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """On every answer, unless a route sets its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class Bugs:
    """An unexpected exception is logged and answered as `internal`, without details."""

    def __init__(self, app: ASGIApp, answer: Callable[[Exception], Response] = errors.unexpected) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if started or scope["type"] != "http":
                raise  # too late for an answer: the server closes the connection
            await self._answer(error)(scope, receive, send)


class Methods:
    """HEAD is GET without the body (RFC 9110, section 9.3.2), OPTIONS tells the methods of an address."""

    def __init__(self, app: ASGIApp, allowed: Callable[[str], list[str]]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "OPTIONS" and (methods := self._allowed(scope["path"])):
            await Response(status_code=204, headers={"Allow": ", ".join(methods)})(scope, receive, send)
        elif method == "HEAD" and "HEAD" in self._allowed(scope["path"]):
            await self._app({**scope, "method": "GET"}, receive, send)  # the server leaves the body out
        else:
            await self._app(scope, receive, send)


class BodyLimit:
    """A body that says it is too large is not read at all; one that does not say is read up to the limit."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdecimal() and int(stated) > self._limit:
            await errors.answer(UspError("request.too_large"))(scope, receive, send)
            return
        left = self._limit

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)  # the only exception that FastAPI lets through while it reads a body
            return message

        await self._app(scope, counted, send)


class Guarded:
    """Lets in whom the managers' IP Filter permits, by the address of the connection; others read nothing of us."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            address = (scope.get("client") or ("",))[0]
            try:
                admitted = await scope["app"].state.app.guard.admits(address)
            except UspError as error:
                await errors.answer(error)(scope, receive, send)
                return
            if not admitted:
                log.info("guard.refused", peer=address, path=scope["path"])
                await errors.answer(UspError("auth.address"))(scope, receive, send)
                return
        await self._app(scope, receive, send)
