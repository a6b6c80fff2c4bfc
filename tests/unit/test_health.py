"""Live, ready and metrics, over real HTTP."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from tests.ports import free_port
from usp import health
from usp.errors import UspError
from usp.settings import MetricsSettings


async def test_the_three_pages() -> None:
    reasons = ["", "no worker is ready"]
    site = await health.start(MetricsSettings(port=free_port()), lambda: reasons[0])
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as client:

        async def get(path: str) -> tuple[int, str]:
            async with client.get(path) as response:
                return response.status, await response.text()

        assert await get("/livez") == (200, "ok\n")
        assert await get("/readyz") == (200, "ok\n")
        del reasons[0]
        assert await get("/readyz") == (503, "no worker is ready\n")
        status, text = await get("/metrics")
        assert status == 200
        assert "usp_build_info" in text
        assert (await get("/other"))[0] == 404
    await site.close()


async def test_port_0_is_off() -> None:
    site = await health.start(MetricsSettings(), lambda: "")
    assert site.port == 0
    await site.close()


async def test_a_port_that_is_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UspError, match="cannot listen on metrics address") as caught,
    ):
        await health.start(MetricsSettings(port=taken.getsockname()[1]), lambda: "")
    assert caught.value.code == "listener.unbindable"
