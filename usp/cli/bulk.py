"""Commands for configuration as code: apply, export. (`usp.cli.main` makes them commands.)"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client
from usp.errors import UspError

PATIENCE: Final = 270.0
"""Seconds that a large set may take beyond a usual answer: new passwords are hashed on the way."""

SIGNS: Final[Mapping[str, str]] = {"create": "+", "update": "~", "delete": "-"}

Row = Mapping[str, Any]


@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="HCL, YAML or JSON; a directory of them; '-': stdin.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--prune", is_flag=True, help="Delete every item that is not in the files.")
@click.option("--passphrase-file", metavar="FILE", help="Holds the passphrase of a sealed export.")
def apply(
    client: Client, as_json: bool, files: tuple[str, ...], dry_run: bool, prune: bool, passphrase_file: str | None
) -> None:
    """Create, change and with --prune delete items until they are as in the files: all of it, or nothing."""
    from usp.cli import sets

    found = sets.collect([sets.read(file, sys.stdin.read) for path in files for file in sets.files(path)])
    body: dict[str, Any] = {"items": found.items}
    if passphrase_file:
        body["passphrase"] = passphrase(passphrase_file)
    query = {name: "true" for name, given in (("dry_run", dry_run), ("prune", prune)) if given}
    try:
        answer = client.post("/apply", body, patience=PATIENCE, **query)
    except UspError as error:
        problems = [found.located(problem) for problem in error.problems]
        raise UspError(error.code, error.message, problems=problems) from None
    if as_json:
        show.as_json(answer)
    else:
        _show(answer)


def _show(plan: Row) -> None:
    for step in plan["changes"]:
        words = [*step["fields"], *(f"{name} (secret)" for name, how in step["secrets"].items() if how == "changed")]
        about = f"  {', '.join(words)}" if step["action"] == "update" else ""
        click.echo(f"{SIGNS[step['action']]} {step['kind']}/{show.printable(step['name'])}{about}")
    count = {action: sum(step["action"] == action for step in plan["changes"]) for action in SIGNS}
    done = "would be " if plan["dry_run"] else ""
    click.echo(
        f"{count['create']} {done}created, {count['update']} {done}changed, {count['delete']} {done}deleted, "
        f"{plan['unchanged']} unchanged"
    )


@click.option("--passphrase-file", metavar="FILE", help="Seal the secrets to the passphrase in it; else they stay out.")
@click.option("--format", "format_", type=click.Choice(("json", "yaml", "hcl")), default="json", show_default=True)
def export(client: Client, as_json: bool, passphrase_file: str | None, format_: str) -> None:
    """All items, as `usp apply` takes them, on the standard output. The same configuration gives the same text."""
    from usp.cli import sets

    if passphrase_file:
        answer = client.post("/export", {"passphrase": passphrase(passphrase_file)}, patience=PATIENCE)
    else:
        answer = client.get("/export")
    click.echo(sets.written(answer["items"], "json" if as_json else format_), nl=False)


def passphrase(path: str) -> str:
    """The first line of a file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"the passphrase file '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"the passphrase file '{path}' is not UTF-8 text") from None
    found = text.partition("\n")[0].rstrip("\r")
    if not found:
        raise click.UsageError(f"the passphrase file '{path}' is empty")
    return found


COMMANDS: Final[tuple[Callable[..., None], ...]] = (apply, export)
