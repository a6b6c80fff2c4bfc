"""`usp sessions` and `usp kill`: who is connected, and an end to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client, segment
from usp.errors import UspError


@click.option("--user", default="", metavar="NAME", help="Only those of this user name.")
@click.option("--server", default="", metavar="NAME", help="Only those on this server.")
def sessions(client: Client, as_json: bool, user: str, server: str) -> None:
    """Who is connected, on all servers, and what is being moved."""
    answer = client.whole("/sessions")
    answer["items"] = [row for row in answer["items"] if _is_meant(row, user, server)]
    if as_json:
        show.as_json(answer)
        return
    show.table(SESSIONS, answer["items"], empty="nobody is connected")
    _tell_missing(answer)


@click.argument("ids", metavar="[SESSION]...", nargs=-1)
@click.option("--user", default="", metavar="NAME", help="All sessions of this user name.")
def kill(client: Client, as_json: bool, ids: tuple[str, ...], user: str) -> None:
    """End sessions at once. The partner may connect again: disable its Account, and push, to keep it out."""
    if bool(ids) == bool(user):
        raise click.UsageError("give the ids of sessions, as `usp sessions` shows them, or --user")
    if user:
        answer = client.whole("/sessions")
        ids = tuple(row["id"] for row in answer["items"] if row.get("username") == user)
        _tell_missing(answer)
    killed, failed = [], []
    for id in ids:
        try:
            client.ask("DELETE", f"/sessions/{segment(id)}", {})
            killed.append(id)
        except UspError as error:
            failed.append(error)
    if as_json:
        show.as_json({"killed": killed})
    else:
        click.echo(f"killed: {', '.join(killed) or 'none'}")
    if failed:
        raise failed[0]


def _is_meant(row: show.Row, user: str, server: str) -> bool:
    return user in ("", row.get("username")) and server in ("", row.get("server"))


def _tell_missing(answer: Any) -> None:
    for server, reason in answer.get("unreachable", {}).items():
        click.echo(f"usp: {server} is missing here: {show.printable(reason)}", err=True)


def _moved(row: show.Row, way: str) -> str:
    """So far, and how fast just now."""
    rate = row.get(f"rate_{way}", 0)
    return show.size(row.get(f"bytes_{way}", 0)) + (f", {show.size(rate)}/s" if rate else "")


SESSIONS: Final[tuple[show.Column, ...]] = (
    ("id", lambda row: row["id"]),
    ("server", lambda row: row["server"]),
    ("listener", lambda row: row["listener"]),
    ("user", lambda row: row.get("username")),
    ("from", lambda row: row["peer"]),
    ("for", lambda row: show.since(row.get("since"))),
    ("in", lambda row: _moved(row, "in")),
    ("out", lambda row: _moved(row, "out")),
    ("target", lambda row: row.get("target")),
    ("file", lambda row: f"{row['direction']} {row['file']}" if row.get("file") else None),
)

COMMANDS: Final[tuple[Callable[..., None], ...]] = (sessions, kill)
