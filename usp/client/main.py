"""The usp-client daemon: reads its settings, holds its tunnel up, answers health checks, drains at SIGTERM."""

from __future__ import annotations

import asyncio
import secrets

from usp import daemon, health, sdnotify
from usp.client.allow import AllowList
from usp.client.tunnels import Limits, Tunnel, Where
from usp.configfile import read_file
from usp.errors import Problem, UspError
from usp.metrics import FORWARDS, TUNNEL_LINKS
from usp.secret import Secret
from usp.settings import ClientSettings
from usp.ssh import fastpath, keys
from usp.ssh.options import Timing


def configured(settings: ClientSettings, instance: str) -> Tunnel:
    """The tunnel that the settings describe. Raises UspError with a problem for each key or entry that is no good."""
    problems: list[Problem] = []
    client_key = Secret(read_file(settings.key, private=True))
    server_key = settings.tunnel.host_key_line()
    try:
        keys.parse_private(client_key)
    except UspError as error:
        problems.append(Problem(("key",), error.message))
    try:
        keys.parse_public(server_key)
    except UspError as error:
        problems.append(Problem(("tunnel", "host_key"), error.message))
    try:
        allow = AllowList.of(settings.allow)
    except UspError as error:
        problems.extend(error.problems)
    if problems:
        raise UspError("settings.invalid", problems=problems)
    where = Where(settings.tunnel.host, settings.tunnel.port, server_key, client_key, settings.name, instance)
    keepalive = settings.keepalive
    limits = Limits(
        timing=Timing(keepalive_interval=keepalive.interval, keepalive_count=keepalive.count),
        connect_timeout=settings.connect_timeout,
        retry_initial=settings.retry.initial,
        retry_maximum=settings.retry.maximum,
    )
    return Tunnel(where, allow, limits)


async def run(settings: ClientSettings, stop: asyncio.Event) -> None:
    fastpath.switch(settings.fast_path)
    tunnel = configured(settings, secrets.token_hex(8))
    there = f"{settings.tunnel.host}:{settings.tunnel.port}"
    TUNNEL_LINKS.labels(there).set_function(lambda: len(tunnel.links))
    FORWARDS.labels(there).set_function(lambda: tunnel.forwards)
    site = await health.start(settings.metrics, tunnel.unready)
    tunnel.start()
    sdnotify.notify(READY=1)
    try:
        await stop.wait()
    finally:
        await tunnel.drain(settings.drain_timeout)
        await site.close()


def _needs(settings: ClientSettings) -> list[str]:
    return [settings.key, *settings.tunnel.host_key_files]


main = daemon.command("usp-client", ClientSettings, run, _needs)

if __name__ == "__main__":
    main()
