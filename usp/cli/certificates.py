"""`usp certificates`, and the warnings below `usp status`. (`usp.cli.main` makes it a command; `usp.cli.authority`
issues certificates.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client
from usp.errors import UspError


def certificates(client: Client, as_json: bool) -> None:
    """How long certificates are valid: those of servers and managers, and the items; the first to end comes first."""
    found = sorted(client.pages("/certificates"), key=lambda row: str(row["until"]))
    if as_json:
        show.as_json({"items": found})
    else:
        show.table(CERTIFICATES, found, empty="there are no certificates")


def warn(client: Client) -> None:
    """Tell the certificates that come to an end; a manager of the release before has no list of them."""
    try:
        found = [row for row in client.pages("/certificates") if row["warning"]]
    except UspError as error:
        if error.code != "request.unknown":
            raise
        return
    for row in found:
        click.echo(f"usp: {row['where']}: {show.printable(row['warning'])}", err=True)


CERTIFICATES: Final[tuple[tuple[str, Callable[[Any], object]], ...]] = (
    ("where", lambda row: row["where"]),
    ("certificate", lambda row: row["name"]),
    ("valid until", lambda row: row["until"]),
    ("", lambda row: row["warning"]),
)

COMMANDS: Final[tuple[Callable[..., None], ...]] = (certificates,)
