"""Commands around load balancers: drain, undrain, haproxy-config. (`usp.cli.main` adds them.)"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client, segment

FAILED: Final = 1
LOOK_SECONDS: Final = 0.5

Row = Mapping[str, Any]


@click.argument("server")
@click.option("--deadline", type=click.IntRange(0), metavar="SECONDS", help="Wait so long for its sessions to end.")
def drain(client: Client, as_json: bool, server: str, deadline: int | None) -> None:
    """Let no new sessions in on a SERVER, and keep it so until `usp undrain`. Its sessions go on.

    Load balancers that ask the server are told first. With --deadline it waits until the last session has ended, and
    fails, telling which are left, if some have not in time.
    """
    found = client.post(f"/servers/{segment(server)}/drain")
    if deadline is None:
        _tell(as_json, found, f"{server}: to be drained; {_count(found['sessions'])}")
        return
    end = time.monotonic() + deadline
    while not _is_empty(found) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        seen = client.get(f"/servers/{segment(server)}")
        found = {"server": server, **{name: seen[name] for name in ("drain", "intake", "sessions")}}
    if _is_empty(found):
        _tell(as_json, found, f"{server}: drained, no session is left")
        return
    left = [row for row in client.whole("/sessions")["items"] if row["server"] == server]
    if as_json:
        show.as_json({**found, "left": left})
    else:
        show.table(LEFT, left, empty=f"{server}: no session that could be listed")
    _blame(server, found, deadline)


@click.argument("server")
def undrain(client: Client, as_json: bool, server: str) -> None:
    """Let new sessions in again on a SERVER that was drained."""
    _tell(as_json, client.post(f"/servers/{segment(server)}/undrain"), f"{server}: takes new sessions again")


@click.option("--agent-port", type=click.IntRange(1, 65535), help="`agent.port` of the servers: ask them for load.")
@click.option("--bind", metavar="IP", help="The load balancer's address, that partners connect to [0.0.0.0].")
def haproxy_config(client: Client, as_json: bool, agent_port: int | None, bind: str | None) -> None:
    """Print HAProxy's configuration for all deployments: one frontend and backend per Listener."""
    query: dict[str, str | int] = {"agent_port": agent_port} if agent_port else {}
    text = client.text("/haproxy.cfg", **query, **({"bind": bind} if bind else {}))
    if as_json:
        show.as_json({"text": text})
    else:
        click.echo(text, nl=False)


def _is_empty(found: Row) -> bool:
    return found["intake"] == "closed" and not found["sessions"]


def _blame(server: str, found: Row, deadline: int) -> None:
    if not found["drain"]:
        reason = "somebody else wants it to take sessions again"
    elif found["intake"] == "closed":
        reason = f"{_count(found['sessions'])} after {deadline} s; it stays drained"
    else:
        reason = f"it was not seen to refuse new sessions within {deadline} s; `usp status {server}` tells more"
    click.echo(f"usp: {server}: {reason}", err=True)
    sys.exit(FAILED)


def _count(sessions: int) -> str:
    return "1 session is left" if sessions == 1 else f"{sessions} sessions are left"


def _tell(as_json: bool, found: Row, sentence: str) -> None:
    if as_json:
        show.as_json(found)
    else:
        click.echo(sentence)


LEFT: Final[tuple[show.Column, ...]] = (
    ("id", lambda row: row["id"]),
    ("listener", lambda row: row["listener"]),
    ("user", lambda row: row.get("username")),
    ("from", lambda row: row["peer"]),
    ("for", lambda row: show.since(row.get("since"))),
    ("in", lambda row: show.size(row.get("bytes_in", 0))),
    ("out", lambda row: show.size(row.get("bytes_out", 0))),
)

COMMANDS: Final[tuple[Callable[..., None], ...]] = (drain, undrain, haproxy_config)
