"""The audit trail on the command line: searched, followed, exported, and its hash chain verified."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from usp.chain import Checker
from usp.cli import show
from usp.cli.client import Client
from usp.errors import UspError

Row = Mapping[str, Any]

PAGE: Final = 1000
FINDINGS: Final = 20
"""Told one by one; more are counted."""
LONGEST: Final = 1 << 20
"""Bytes of a line: none of ours is longer."""

MORE: Final = (
    "to", "mode", "bytes_read", "bytes_written", "seconds", "sha256", "status", "text", "reason", "kind",
    "bytes_in", "bytes_out", "count",
)  # fmt: skip
"""What is shown of a server's line, besides what all have."""


def _more(row: Row) -> Row:
    detail = row["detail"]
    return {name: detail[name] for name in MORE if name in detail} if row.get("server") else detail


EVENTS: Final[tuple[show.Column, ...]] = (
    ("when", lambda row: row["at"]),
    ("who", lambda row: row["author"]),
    ("from", lambda row: row["peer"]),
    ("what", lambda row: row["action"]),
    ("which", lambda row: row["target"]),
    ("outcome", lambda row: row.get("outcome")),
    ("server", lambda row: row.get("server")),
    ("more", _more),
)
CSV: Final = ("number", "at", "author", "peer", "action", "target", "outcome", "server", "listener", "session")


@click.option("--action", default=None, help="Only those that begin so, such as login. or file.")
@click.option("--account", default=None, help="Only those of this partner's account, or administrator.")
@click.option("--server", default=None, help="Only what this server told.")
@click.option("--listener", default=None, help="Only those on this listener.")
@click.option("--path", default=None, help="Only those of files whose path begins so.")
@click.option("--outcome", default=None, help="Only those with this outcome, such as ok, failed or denied.")
@click.option("--session", default=None, help="Only those of this session: its story.")
@click.option(
    "--source", type=click.Choice(["manager", "server"]), default=None, help="Of administrators, or partners."
)
@click.option("--from", "from_", default=None, metavar="TIME", help="Not before, such as 2026-11-27T08:00.")
@click.option("--to", default=None, metavar="TIME", help="Before that time. (UTC, unless it says otherwise.)")
@click.option(
    "--limit", type=click.IntRange(1, 10_000_000), default=50, show_default=True, help="How many at the most."
)
@click.option("--follow", is_flag=True, help="Those that come from now on, until interrupted.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, for spreadsheets.")
def events(
    client: Client, as_json: bool, limit: int, follow: bool, as_csv: bool, from_: str | None, **filters: str | None
) -> None:
    """The audit trail, the latest first: what administrators and partners did."""
    query = {name: value for name, value in {**filters, "from": from_}.items() if value is not None}
    if follow:
        if as_csv:
            raise click.UsageError("--csv goes without --follow.")
        for event in client.stream("/events/stream", **query):
            click.echo(event if as_json else show.line(EVENTS, show.parsed(event)))
        return
    found = islice(found_in(client, query, limit), limit)
    if as_csv:
        _write_csv(found)
    elif as_json:
        show.as_json({"items": list(found)})
    else:
        show.table(EVENTS, found, empty="nothing has happened")


def found_in(client: Client, query: Mapping[str, Any], limit: int | None = None) -> Iterator[Row]:
    after: dict[str, Any] = {}
    while True:
        page = client.get("/events", limit=PAGE if limit is None else min(PAGE, limit), **query, **after)
        yield from page["items"]
        if page["next"] is None:
            return
        after = {"after": page["next"]}
        limit = None if limit is None else limit - len(page["items"])
        if limit == 0:
            return


def _write_csv(rows: Iterator[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow([*CSV, *MORE, "detail"])
    for row in rows:
        detail = row["detail"]
        values = [row.get(name, "") for name in CSV] + [detail.get(name, "") for name in MORE]
        writer.writerow([*map(_plain, values), json.dumps(detail, ensure_ascii=False)])


def _plain(value: object) -> object:
    """What a spreadsheet would take for a formula is text: names come from far away."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


# --- verifying ---


@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False), metavar="[FILE]...")
@click.option("--server", default=None, help="Verify what the managers have of this server, or FILEs against it.")
def verify(make: Callable[[], Client], as_json: bool, files: tuple[str, ...], server: str | None) -> None:
    """Check the hash chain of audit logs: that no line was changed, removed, inserted or put elsewhere.

    FILEs are a server's audit log, the oldest first if it was rotated; no manager is asked. With --server alone the
    events that managers have stored of that server are checked; with both, FILEs are checked, and whether they and the
    managers have the same, which also shows lines that are missing at the end.
    """
    if not files and server is None:
        raise click.UsageError("what? Name audit logs, or --server.")
    checker, found = Checker(), _Findings()
    for place, line in _lines(files) if files else _stored(make(), server or ""):
        if wrong := checker.check(line):
            found.add(place, wrong)
    if server is not None:
        _compare(checker, make(), server, found)
    found.tell(checker, as_json)


class _Findings:
    def __init__(self) -> None:
        self.count = 0
        self.first: list[dict[str, str]] = []

    def add(self, place: str, wrong: str) -> None:
        self.count += 1
        if self.count <= FINDINGS:
            self.first.append({"place": place, "wrong": wrong})

    def tell(self, checker: Checker, as_json: bool) -> None:
        ends = [
            {"server": link.server, "chain": link.chain, "seq": link.seq, "hash": link.hash}
            for link in checker.last.values()
        ]
        if as_json:
            show.as_json(
                {
                    "lines": checker.lines,
                    "wrong": self.count,
                    "findings": self.first,
                    "notes": checker.notes,
                    "ends": ends,
                }
            )
        else:
            for note in checker.notes:
                click.echo(f"note: {show.printable(note)}")
            for finding in self.first:
                click.echo(show.printable(f"{finding['place']}: {finding['wrong']}"), err=True)
            for end in ends:
                click.echo(f"chain {end['chain']} of {end['server']} ends with seq {end['seq']}, hash {end['hash']}")
        if self.count and as_json:
            sys.exit(1)
        if self.count:
            raise UspError("audit.chain", f"{self.count} of {checker.lines} lines are not as they were written")
        if not as_json:
            click.echo(f"{checker.lines} lines are as they were written")


def _lines(files: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for name in files:
        with Path(name).open("rb") as file:
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                if line != b"\n":  # after a full disk
                    yield f"{name}:{number}", line.rstrip(b"\n")


def _stored(client: Client, server: str) -> Iterator[tuple[str, bytes]]:
    import orjson

    for event in found_in(client, {"server": server, "order": "oldest"}):
        detail = event["detail"]
        yield f"event {event['number']} (seq {detail.get('seq', '?')})", orjson.dumps(detail)


def _compare(checker: Checker, client: Client, server: str, found: _Findings) -> None:
    """With how far the managers say that they have stored it."""
    for stored in client.get("/events/chains", server=server)["items"]:
        last = checker.last.get(stored["chain"])
        place = f"chain {stored['chain']} of {server}"
        if last is not None and last.seq < stored["seq"]:
            found.add(
                place,
                f"it ends with seq {last.seq}, managers have seq {stored['seq']}: lines are missing at its end",
            )
        elif last is not None and last.seq == stored["seq"] and last.hash != stored["hash"]:
            found.add(place, f"managers have another hash for seq {last.seq}: the chain was written anew")
