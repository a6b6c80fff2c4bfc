"""/livez, /readyz and /metrics on a bind of their own (loopback by default), for every daemon.

Live: the process answers. Ready: it does its work (`ready()` gives the reason why not, or ""). Both are plain text.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from usp import metrics
from usp.errors import UspError
from usp.settings import MetricsSettings


class Health:
    """The running site. `port` is 0 when it is off."""

    def __init__(self, runner: web.AppRunner | None, port: int) -> None:
        self.port = port
        self._runner = runner

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


async def start(settings: MetricsSettings, ready: Callable[[], str], workers: metrics.Workers | None = None) -> Health:
    """Serve until `close`; port 0 in the settings serves nothing."""
    if settings.port == 0:
        return Health(None, 0)
    runner = web.AppRunner(application(ready, workers), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.address, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        message = f"cannot listen on metrics address {settings.address}:{settings.port}: {error.strerror}"
        raise UspError("listener.unbindable", message) from None
    return Health(runner, settings.port)


def application(ready: Callable[[], str], workers: metrics.Workers | None = None) -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = ready()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    async def all_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(workers), headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", all_metrics)])
    return app
