"""What surrounds every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.types import Message, Receive, Scope, Send

from tests.unit.manager.api.calls import Api, refused
from usp.manager.api.middleware import MAX_BODY, SECURITY_HEADERS, BodyLimit, Bugs, SecurityHeaders


async def test_headers_on_every_answer(admin: Api, nobody: Api) -> None:
    answers = [
        await admin("GET", "/servers"),
        await nobody("GET", "/servers"),
        await nobody("GET", "/nowhere"),
        await nobody("GET", "https://manager/livez"),
        await nobody("POST", "/login", content=b"", headers={"Content-Length": str(MAX_BODY + 1)}),
    ]
    for answer in answers:
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize("path", ["/items/ip-filters", "/tokens"])
async def test_bodies_are_limited_whether_they_say_so_or_not(admin: Api, path: str) -> None:
    json = {"Content-Type": "application/json"}
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield b" " * (1 << 20)

    refused(await admin("POST", path, content=endless(), headers=json), 413, "request.too_large")
    assert asked == 17
    stated = {**json, "Content-Length": str(MAX_BODY + 1)}
    refused(await admin("POST", path, content=endless(), headers=stated), 413, "request.too_large")
    assert asked <= 18


async def test_a_body_up_to_the_limit() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        size = len(await Request(scope, receive).body())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})

    transport = httpx.ASGITransport(app=BodyLimit(echo, 10))
    async with httpx.AsyncClient(transport=transport, base_url="https://m") as http:
        assert (await http.post("/", content=b"x" * 10)).text == "10"
        assert (await http.post("/", content=b"x" * 11)).status_code == 413


async def test_a_bug_after_the_answer_began_is_left_to_the_server() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def sent(message: Message) -> None: ...

    async def nothing() -> Any: ...

    with pytest.raises(ZeroDivisionError):
        await Bugs(broken)({"type": "http"}, nothing, sent)


async def test_other_protocols_pass() -> None:
    seen = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})

    async def sent(message: Message) -> None:
        seen.append(message["type"])

    async def nothing() -> Any: ...

    await SecurityHeaders(Bugs(BodyLimit(inner)))({"type": "lifespan"}, nothing, sent)
    assert seen == ["lifespan.startup.complete"]
