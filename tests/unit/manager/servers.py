"""Real management ports for the tests of the manager: usp-server's control API, supervisor and stand-in workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.unit.manager.site import CA, SERVER
from tests.unit.server.support import settings, supervised, trail
from usp import pki
from usp.server.control import Control
from usp.server.supervisor import Supervisor
from usp.server.trail import Trail
from usp.settings import ServerTls


def files(folder: Path, who: pki.Identity = SERVER, ca: pki.Identity = CA) -> ServerTls:
    folder.mkdir(exist_ok=True)
    for name, text in (("cert", who.cert), ("key", who.key), ("ca", ca.cert)):
        (folder / name).write_text(text)
    return ServerTls(cert=str(folder / "cert"), key=str(folder / "key"), ca=str(folder / "ca"))


@asynccontextmanager
async def server(port: int, tls: ServerTls, told: Trail | None = None) -> AsyncIterator[Supervisor]:
    """The server `server` on that management port; `told` is its audit trail."""
    effective = settings(workers=1, port=port, tls=tls, drain=0.2)
    async with supervised(effective) as supervisor:
        control = Control(supervisor, told or trail(), effective.web)
        await control.start()
        try:
            yield supervisor
        finally:
            await control.close()
