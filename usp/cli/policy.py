"""`usp policy suggest`: a policy from what partners did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client
from usp.cli.events import found_in
from usp.errors import UspError

Row = Mapping[str, Any]


@click.option("--rule", required=True, metavar="NAME", help="Of partners that log in by this Rule.")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Of that many days until now."
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Audit logs of servers to read instead of what the managers have of them.",
)
@click.option("--format", "format_", type=click.Choice(("hcl", "yaml", "json")), default="hcl", show_default=True)
def suggest(client: Client, as_json: bool, rule: str, days: int, files: tuple[str, ...], format_: str) -> None:
    """The tightest policy of a Rule that would have allowed what its partners did, as `usp apply` takes it.

    Try it with mode = "observe" first: what partners do once a month may not have happened yet.
    """
    from usp.cli import sets
    from usp.policy import Policy
    from usp.sftp.suggest import suggest as suggested

    items = client.get("/export")["items"]
    found = next((item for item in items.get("rules", ()) if item["name"] == rule), None)
    if found is None:
        raise UspError("item.not_found", f"there is no Rule '{rule}'")
    nodes = {node["name"] for node in items.get("inbound-nodes", ()) if node["rule"] == rule}
    present = Policy.model_validate_json(json.dumps(found.get("policy", {})))
    since = f"{(datetime.now(UTC) - timedelta(days=days)).date()}T00:00:00.000Z"
    told = _read(files) if files else _stored(client, since)
    policy, count = suggested((line for line in told if _is_meant(line, rule, nodes, present.root, since)), present)
    if not count:
        raise UspError("item.not_found", f"nothing is told of files of Rule '{rule}' since {since}")
    changed = {**found, "policy": policy.model_dump(mode="json", exclude_defaults=True)}
    click.echo(sets.written({"rules": [changed]}, "json" if as_json else format_), nl=False)
    click.echo(f"usp: from {count} events; nothing is changed before `usp apply`", err=True)


def _stored(client: Client, since: str) -> Iterator[Row]:
    for event in found_in(client, {"source": "server", "action": "file.", "from": since}):
        yield event["detail"]


def _read(files: tuple[str, ...]) -> Iterator[Row]:
    for name in files:
        with Path(name).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    told = json.loads(line)
                except ValueError:
                    raise UspError(
                        "request.invalid", f"{show.printable(name)}:{number} is no line of an audit log"
                    ) from None
                if isinstance(told, dict):
                    yield told


def _is_meant(line: Row, rule: str, nodes: set[str], root: str | None, since: str) -> bool:
    """Of that Rule and time, with paths from the root that there is now."""
    of_rule = line["rule"] == rule if "rule" in line else line.get("node") in nodes
    return of_rule and ("root" in line) == (root is not None) and str(line.get("time", since)) >= since


SUGGEST: Final[dict[str, Callable[..., None]]] = {"suggest": suggest}
GROUPS: Final = {"policy": ("What partners may do.", SUGGEST)}
