"""Commands around penalties of servers: penalties, release. (`usp.cli.main` makes them commands.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client, segment
from usp.errors import UspError


@click.argument("server", required=False)
def penalties(client: Client, as_json: bool, server: str | None) -> None:
    """Who failed so often that it is not let in for a while, on one SERVER or all."""
    found: list[dict[str, Any]] = []
    unreachable: dict[str, str] = {}
    names = [server] if server else [each["name"] for each in client.pages("/servers")]
    for name in names:
        try:
            found += [{**each, "server": name} for each in client.pages(f"/servers/{segment(name)}/penalties")]
        except UspError as error:
            if server:
                raise
            unreachable[name] = error.message
    if as_json:
        show.as_json({"items": found, "unreachable": unreachable})
        return
    show.table(PENALTIES, found, empty="nobody has a penalty")
    for name, reason in unreachable.items():
        click.echo(f"usp: {name} is missing here: {show.printable(reason)}", err=True)


@click.argument("server")
@click.argument("key")
def release(client: Client, as_json: bool, server: str, key: str) -> None:
    """Let somebody off on a SERVER. KEY is what `usp penalties` shows, such as source:192.0.2.7, username:alice or
    target:archive."""
    client.ask("DELETE", f"/servers/{segment(server)}/penalties/{segment(key)}", {})
    if as_json:
        show.as_json({"server": server, "released": key})
    else:
        click.echo(f"{server}: {show.printable(key)} is released")


PENALTIES: Final[tuple[show.Column, ...]] = (
    ("server", lambda row: row["server"]),
    ("key", lambda row: row["key"]),
    ("failures", lambda row: row["failures"]),
    ("for another", lambda row: show.duration(row["seconds"])),
    ("why", lambda row: row["reason"]),
)

COMMANDS: Final[tuple[Callable[..., None], ...]] = (penalties, release)
