"""uvicorn in our event loop: TLS, our own signal handling, and an end that waits for nobody's event stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from usp import tls
from usp.errors import UspError
from usp.settings import ManagerWeb
from usp.tasks import spawn

GRACE_SECONDS = 3
"""For requests that are being answered when the end comes."""

FLUSH_SECONDS = 0.5
"""For answered ones to reach their reader, and for its TLS goodbye: one that reads nothing would not say it."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the daemon's


class Web:
    """A running web server. `tls_context` is replaced in place by `reload`, for new connections."""

    def __init__(self, application: Any, settings: ManagerWeb) -> None:
        config = uvicorn.Config(
            application,
            host=settings.address,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,  # who asks is who connects: X-Forwarded-For can be written by anybody
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=64 << 10,
            ws="none",
        )
        config.load()
        self.tls_context = tls.server_context(settings.tls.cert, settings.tls.key)
        config.ssl = self.tls_context
        self._settings = settings
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it serves; UspError listener.unbindable."""
        settings = self._settings
        self._task = spawn(self._serve(), "web")
        while not self._server.started:
            if self._task.done():
                await self._task
                message = f"cannot listen on web address {settings.address}:{settings.port}"
                raise UspError("listener.unbindable", message)
            await asyncio.sleep(0.01)

    async def _serve(self) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn's way to say that it cannot bind, which it has logged
            await self._server.serve()

    def reload(self, settings: ManagerWeb) -> None:
        """Take the certificate anew; UspError key.unusable leaves the old one."""
        tls.server_context(settings.tls.cert, settings.tls.key)
        self.tls_context.load_cert_chain(settings.tls.cert, settings.tls.key)

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is None:
            return
        if self._server.server_state.tasks:
            await asyncio.wait(self._server.server_state.tasks, timeout=GRACE_SECONDS)
        await asyncio.wait([self._task], timeout=FLUSH_SECONDS)
        self._server.force_exit = True
        await self._task
