"""Commands around webhooks: who is told of events. (`usp.cli.main` makes them commands.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from usp.cli import show
from usp.cli.client import Client, segment


def list_webhooks(client: Client, as_json: bool) -> None:
    """Who is told of events, how far, and what fails."""
    found = list(client.pages("/webhooks"))
    if as_json:
        show.as_json({"items": found})
    else:
        show.table(COLUMNS, found, empty="nobody is told of events")


@click.argument("name")
@click.argument("url")
@click.option("--event", "action", default="", help="Only events that begin so, such as file. or login.")
@click.option("--path", default="", help="Only paths that begin so.")
@click.option("--account", default="", help="Only those of this user name.")
@click.option("--server", default="", help="Only those of this Proxy Server.")
@click.option("--listener", default="", help="Only those of this Listener.")
@click.option("--outcome", default="", help="Only those with this outcome, such as denied.")
def add_webhook(client: Client, as_json: bool, name: str, url: str, **wanted: str) -> None:
    """Have URL told of what happens from now on, by a signed POST. The secret is shown this once."""
    made = client.post("/webhooks", {"name": name, "url": url, "wanted": wanted})
    if as_json:
        show.as_json(made)
    else:
        click.echo(made["secret"])


@click.argument("name")
@click.option("--off", is_flag=True, help="Tell it no more, until it is enabled again.")
def enable_webhook(client: Client, as_json: bool, name: str, off: bool) -> None:
    """Go on telling a webhook, or stop; what failed is tried at once."""
    client.ask("PATCH", f"/webhooks/{segment(name)}", {}, {"enabled": not off})
    if as_json:
        show.as_json({"name": name, "enabled": not off})
    else:
        click.echo(f"{name} is {'disabled' if off else 'enabled'}")


@click.argument("name")
def remove_webhook(client: Client, as_json: bool, name: str) -> None:
    """Tell a webhook no more."""
    client.ask("DELETE", f"/webhooks/{segment(name)}", {})
    if as_json:
        show.as_json({"name": name, "removed": True})
    else:
        click.echo(f"{name} is removed")


COLUMNS: Final[tuple[show.Column, ...]] = (
    ("name", lambda row: row["name"]),
    ("url", lambda row: row["url"]),
    ("wants", lambda row: ", ".join(f"{name} {value}" for name, value in row["wanted"].items()) or "all"),
    ("enabled", lambda row: "yes" if row["enabled"] else "no"),
    ("delivered", lambda row: row["delivered"]),
    ("dead", lambda row: row["dead"]),
    ("failing", lambda row: f"{row['failures']} times: {row['error']}" if row["failures"] else ""),
)

GROUPS: Final[dict[str, tuple[str, dict[str, Callable[..., None]]]]] = {
    "webhooks": (
        "Who is told of events by a signed POST.",
        {"list": list_webhooks, "add": add_webhook, "enable": enable_webhook, "remove": remove_webhook},
    ),
}
