"""usp-server: the supervisor process. Before the first push nothing listens but the management port (and, if it is set,
the loopback bind for health and metrics)."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from usp import __version__, daemon, health, sdnotify, tasks
from usp import log as logs
from usp.certificates import Certificates, Found, of_files
from usp.errors import UspError
from usp.log import get_logger
from usp.logfile import Writer
from usp.server import handover
from usp.server.agent import Agent
from usp.server.control import Control
from usp.server.spool import Spool
from usp.server.supervisor import Supervisor
from usp.server.syslog import Syslog
from usp.server.trail import GOODBYE, Trail, before
from usp.settings import ServerSettings, ServerWeb

log = get_logger(__name__)


async def run(settings: ServerSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`, then drain. However it ends, no worker is left."""
    found = before(settings.audit.path, settings.name, lambda: secrets.token_hex(8))
    syslog = Syslog(settings.audit.syslog, settings.name) if settings.audit.syslog else None
    audit = Writer(settings.audit.path)
    trail = Trail(audit, Spool(settings.audit.spool << 20), found, syslog)
    sending = tasks.TaskSet()
    if syslog is not None:
        sending.spawn(syslog.run(), "syslog")
    supervisor = Supervisor(settings, trail.put)

    async def parting() -> None:
        """The last words of the audit."""
        await trail.stop()
        if syslog is not None:
            await syslog.flush(GOODBYE)

    try:
        control = Control(supervisor, trail, settings.web)
        agent = Agent(settings.agent, supervisor.advice)
        healthy = await health.start(settings.metrics, supervisor.unready, supervisor.counted)
        try:
            await _serve(settings, supervisor, control, agent, audit, parting, stop)
            await parting()
        finally:
            await agent.close()
            await control.close()
            await healthy.close()
    finally:
        await supervisor.kill()
        await sending.cancel()
        audit.close()


async def _serve(
    settings: ServerSettings,
    supervisor: Supervisor,
    control: Control,
    agent: Agent,
    audit: Writer,
    parting: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
) -> None:
    handed = handover.taken(os.environ)
    if handed is not None:  # managers see it at once; partners as soon as there are workers
        await control.start(handed.management_socket())
    await supervisor.start(handed)
    if handed is None:
        await control.start()
    await agent.start()

    files = _Files(settings.web)
    supervisor.certificates = lambda: files.watched.found

    def reload(settings: ServerSettings) -> None:
        tasks.spawn(_reload(control, audit, files, settings), "reload")

    upgrading = tasks.TaskSet()

    def upgrade() -> None:
        if not upgrading:
            upgrading.spawn(_upgrade(supervisor, control, audit, parting), "upgrade")

    daemon.on_reload(reload)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, upgrade)
    handover.heed_signals()
    watching = tasks.spawn(files.watched.watch(), "certificates")
    sdnotify.notify(READY=1, STATUS="serving")
    await stop.wait()
    watching.cancel()
    await supervisor.drain()


async def _upgrade(
    supervisor: Supervisor, control: Control, audit: Writer, parting: Callable[[], Awaitable[None]]
) -> None:
    """Go on as the program that is installed now. If it does not accept the configuration, this one stays."""
    if supervisor.draining:
        return
    try:
        await handover.checked()
    except UspError as error:
        log.error("upgrade.refused", exc_info=error)
        return

    async def ready() -> None:
        log.info("upgrade.started", release=__version__)
        sdnotify.notify(RELOADING=1)
        await parting()
        audit.close()
        logs.shutdown()

    try:
        await supervisor.hand_over(control.fileno, ready)
    except OSError:  # the audit is closed already: better no service for a moment than one without it
        os._exit(daemon.FAILED)


class _Files:
    """The certificates of the configuration."""

    def __init__(self, settings: ServerWeb) -> None:
        self.settings = settings
        self.watched = Certificates(self._look)

    async def _look(self) -> Found:
        return of_files({"web.tls.cert": self.settings.tls.cert, "web.tls.ca": self.settings.tls.ca})


async def _reload(control: Control, audit: Writer, files: _Files, settings: ServerSettings) -> None:
    audit.reopen()
    try:
        await control.reload(settings.web)
    except UspError as error:  # the certificate of before goes on serving
        log.error("tls.not_reloaded", exc_info=error)
        return
    files.settings = settings.web
    await files.watched.look()


main: Final = daemon.command("usp-server", ServerSettings, run)

if __name__ == "__main__":
    main()
