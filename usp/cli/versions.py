"""Commands for versions and history: push, rollback, diff, versions, pushes, history. (`usp.cli.main` adds them.)"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client, segment

FAILED: Final = 1
WAIT: Final = 30
LOOK_SECONDS: Final = 0.3
MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}

Row = Mapping[str, Any]
Command = Callable[..., None]


def _acting(function: Command) -> Command:
    """The options of what makes a version."""
    for option in (
        click.option("--timeout", default=WAIT, show_default=True, help="Seconds to wait at most, for each server."),
        click.option("--wait/--no-wait", default=False, help="Wait until the server applied or refused it."),
        click.option("--force", is_flag=True, help="Make a version even if nothing has changed."),
        click.option("--comment", default="", help="What for; it is kept with the version."),
    ):
        function = option(function)
    return function


@click.argument("servers", nargs=-1, metavar="SERVER...")
@click.option("--all", "every", is_flag=True, help="All Proxy Servers that are enabled, by name.")
@click.option("--canary", is_flag=True, help="The others only get it when the first one is healthy with it.")
@_acting
def push(
    client: Client,
    as_json: bool,
    servers: tuple[str, ...],
    every: bool,
    canary: bool,
    comment: str,
    force: bool,
    wait: bool,
    timeout: int,
) -> None:
    """Push the configuration, as it is now, to one SERVER or several, in order; a refusal stops it.

    With --wait it fails unless every server applied it.
    """
    if every == bool(servers):
        raise click.UsageError("which servers? Name them, or give --all.")
    if every:
        servers = tuple(item["name"] for item in client.pages("/items/proxy-servers") if item["enabled"])
        if not servers:
            raise click.UsageError("there is no Proxy Server that is enabled.")
    body = {"comment": comment, **({"force": True} if force else {})}
    if len(servers) == 1 and not canary:
        _push_one(client, as_json, servers[0], "push", body, wait=wait, timeout=timeout)
    else:
        _push_many(client, as_json, {**body, "servers": servers, "canary": canary, "wait": timeout}, wait=wait)


@click.argument("server")
@click.argument("version", type=click.IntRange(1))
@_acting
def rollback(
    client: Client, as_json: bool, server: str, version: int, comment: str, force: bool, wait: bool, timeout: int
) -> None:
    """Push the content of an older VERSION of a SERVER again, as a new version. Items stay as they are."""
    body = {"version": version, "comment": comment, **({"force": True} if force else {})}
    _push_one(client, as_json, server, "rollback", body, wait=wait, timeout=timeout)


def _push_one(client: Client, as_json: bool, server: str, verb: str, body: Row, *, wait: bool, timeout: int) -> None:
    query: dict[str, str | int] = {"wait": timeout} if wait else {}
    answer = client.post(f"/servers/{segment(server)}/{verb}", body, patience=timeout if wait else 0, **query)
    if as_json:
        show.as_json(answer)
    elif answer.get("unchanged"):
        click.echo(f"{server}: nothing has changed, version {answer['version']} is {answer['state']}")
    else:
        click.echo(f"{server}: version {answer['version']} is {answer['state']}")
    if wait and answer["state"] != "applied":
        click.echo(f"usp: it was not applied within {timeout} s; `usp status {server}` tells more", err=True)
        sys.exit(FAILED)


def _push_many(client: Client, as_json: bool, body: Row, *, wait: bool) -> None:
    """Start it; with `wait` tell each step when it is settled, and fail unless all are applied."""
    found = client.post("/push", body)
    if not wait:
        if as_json:
            show.as_json(found)
        else:
            click.echo(f"push {found['id']} runs; `usp pushes {found['id']}` shows how far it is")
        return
    told: set[str] = set()
    while True:
        for step in found["servers"]:
            if not as_json and step["server"] not in told and step["state"] not in ("waiting", "pushing"):
                told.add(step["server"])
                click.echo(_step(step))
        if found["state"] != "running":
            break
        time.sleep(LOOK_SECONDS)
        found = client.get(f"/pushes/{found['id']}")
    if as_json:
        show.as_json(found)
    if any(step["state"] != "applied" for step in found["servers"]):
        click.echo(
            f"usp: push {found['id']} {found['state']}: {show.printable(found['reason'] or 'see above')}", err=True
        )
        sys.exit(FAILED)


def _step(step: Row) -> str:
    words = [f"{step['server']}: {step['state']}"]
    if step["version"]:
        words.append(f"version {step['version']}" + (" (nothing has changed)" if step["unchanged"] else ""))
    return ", ".join([*words, *filter(None, [show.printable(step["reason"])])])


@click.argument("id", required=False, type=click.IntRange(1))
def pushes(client: Client, as_json: bool, id: int | None) -> None:
    """The latest pushes to several servers, or how far the one with that ID is."""
    if id is None:
        answer = client.get("/pushes", limit=20)
        if as_json:
            show.as_json(answer)
        else:
            show.table(PUSHES, answer["items"], empty="nothing was pushed to several servers yet")
        return
    found = client.get(f"/pushes/{id}")
    if as_json:
        show.as_json(found)
        return
    show.table(PUSHES, [found])
    show.table(STEPS, found["servers"], title="Servers")


PUSHES: Final[tuple[show.Column, ...]] = (
    ("id", lambda row: row["id"]),
    ("state", lambda row: row["state"]),
    ("servers", lambda row: len(row["servers"])),
    ("canary", lambda row: row["canary"]),
    ("author", lambda row: row["author"]),
    ("made", lambda row: f"{show.since(row['at'])} ago"),
    ("comment", lambda row: row["comment"]),
    ("why", lambda row: row["reason"]),
)
STEPS: Final[tuple[show.Column, ...]] = (
    ("server", lambda row: row["server"]),
    ("state", lambda row: row["state"]),
    ("version", lambda row: row["version"] or "-"),
    ("unchanged", lambda row: row["unchanged"]),
    ("why", lambda row: row["reason"]),
)


@click.argument("server")
@click.argument("before", metavar="[FROM]", required=False, type=click.IntRange(0))
@click.argument("after", metavar="[TO]", required=False, type=click.IntRange(0))
def diff(client: Client, as_json: bool, server: str, before: int | None, after: int | None) -> None:
    """What a push would change on a SERVER, and what it would do there.

    With FROM: since that version (0: nothing). With TO: between the two versions.
    """
    query = {name: value for name, value in (("from", before), ("to", after)) if value is not None}
    answer = client.get(f"/servers/{segment(server)}/diff", **query)
    if as_json:
        show.as_json(answer)
        return
    there = f"version {answer['version']}" if answer["version"] else "nothing"
    updated = answer["updated_version"]
    then = "the configuration as it is now" if updated is None else f"version {updated}" if updated else "nothing"
    click.echo(f"{server}: from {there} to {then}")
    if not answer["changed"]:
        click.echo("  nothing has changed")
        return
    for part in answer["differences"]:
        click.echo(f"{MARKS[part['change']]} {show.printable(part['text'])}")
    click.echo("What a push does:")
    for sentence in answer["effects"]["sentences"]:
        click.echo(f"  {show.printable(sentence)}")


@click.argument("server")
@click.argument("version", required=False, type=click.IntRange(1))
def versions(client: Client, as_json: bool, server: str, version: int | None) -> None:
    """The configuration versions of a SERVER, newest first, or all of one VERSION but its secrets."""
    path = f"/servers/{segment(server)}/versions"
    if version is not None:
        answer = client.get(f"{path}/{version}")
        if as_json:
            show.as_json(answer)
        else:
            show.fields(answer)
        return
    answer = client.get(path, limit=50)
    if as_json:
        show.as_json(answer)
    else:
        show.table(VERSIONS, answer["items"], empty=f"nothing was pushed to {server} yet")


@click.argument("server")
def changes(client: Client, as_json: bool, server: str) -> None:
    """What has changed on a SERVER as managers saw it, newest first: states, versions, restarts, links."""
    answer = client.get(f"/servers/{segment(server)}/changes", limit=50)
    if as_json:
        show.as_json(answer)
    else:
        show.table(CHANGES, answer["items"], empty=f"nothing has changed on {server} yet")


CHANGES: Final[tuple[show.Column, ...]] = (
    ("when", lambda row: row["at"][:19]),
    ("what", lambda row: row["subject"] or "server"),
    ("was", lambda row: row["was"]),
    ("is", lambda row: row["state"]),
    ("why", lambda row: row["reason"]),
)


VERSIONS: Final[tuple[show.Column, ...]] = (
    ("version", lambda row: row["version"]),
    ("state", lambda row: row["state"]),
    ("author", lambda row: row["author"]),
    ("made", lambda row: f"{show.since(row['at'])} ago"),
    ("digest", lambda row: row["digest"][:12]),
    ("comment", lambda row: row["comment"]),
    ("why", lambda row: row["reason"]),
)


@click.argument("kind")
@click.argument("name")
def history(client: Client, as_json: bool, kind: str, name: str) -> None:
    """Who changed the item NAME (or id) of a KIND, when, and what; also when it is deleted. Newest first."""
    found = list(client.pages(f"/items/{segment(kind)}/{segment(name)}/history"))
    if as_json:
        show.as_json({"items": found})
        return
    for revision in found:
        words = f"{revision['at'][:19]}  revision {revision['revision']}  {revision['action']} by {revision['author']}"
        click.echo(show.printable(words))
        for change in revision["changes"]:
            if revision["action"] != "create" or change["after"] not in (None, "", [], {}):
                click.echo(f"    {show.printable(change['text'])}")
        for field, word in revision["secrets"].items():
            click.echo(f"    {field} {word}")


COMMANDS: Final[tuple[Command, ...]] = (push, rollback, diff, versions, pushes, history, changes)
