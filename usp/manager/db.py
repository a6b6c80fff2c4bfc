"""`usp-manager db`: the schema of the database, and copies of all that is in it."""

from __future__ import annotations

from pathlib import Path

import click

from usp import daemon, tasks
from usp.databases import from_argument
from usp.settings import ManagerSettings


@click.group(help="The database: its schema, and copies.")
def db() -> None: ...


@db.command("upgrade", help="Create the schema, or bring it up to date.")
@daemon.with_settings
def db_upgrade(settings: ManagerSettings) -> None:
    from usp.manager.store.upgrade import upgrade

    click.echo(f"the database is at revision {tasks.run(upgrade(settings.database))}")


@db.command("check", help="Say whether the schema is the one that this release needs.")
@daemon.with_settings
def db_check(settings: ManagerSettings) -> None:
    from usp.manager.store.upgrade import check

    click.echo(f"the database is at revision {tasks.run(check(settings.database))}, as it should be")


@db.command("history", help="List the schema's revisions, and which of them the database has.")
@daemon.with_settings
def db_history(settings: ManagerSettings) -> None:
    from usp.manager.store.upgrade import history

    for step in tasks.run(history(settings.database)):
        click.echo(f"{step.number}  {'applied' if step.applied else '-':8} {step.what}")


@db.command("downgrade", help="Go back to an older release's schema. What the newer one added is dropped.")
@click.argument("revision")
@click.confirmation_option(prompt="What newer revisions keep is dropped. Are all managers stopped?")
@daemon.with_settings
def db_downgrade(settings: ManagerSettings, revision: str) -> None:
    from usp.manager.store.upgrade import downgrade

    click.echo(f"the database is at revision {tasks.run(downgrade(settings.database, revision))}")


@db.command("copy", help="Copy everything into another, empty database, such as a pilot's from SQLite to PostgreSQL.")
@click.option(
    "--from", "source", metavar="URL", help="The database to read, or @FILE with its URL [the configured one]"
)
@click.option(
    "--to", "destination", metavar="URL", help="The database to fill, or @FILE with its URL [the configured one]"
)
@daemon.with_settings
def db_copy(settings: ManagerSettings, source: str | None, destination: str | None) -> None:
    from usp.manager.store.copying import copy

    if source is None and destination is None:
        raise click.UsageError("--from, --to or both are needed")
    ends = [from_argument(each) if each is not None else settings.database for each in (source, destination)]
    for table, rows in tasks.run(copy(*ends)).items():
        click.echo(f"{rows:9}  {table}")
    click.echo(f"copied to {ends[1]}; start the managers with it, and the same encryption.kek")


@db.command("backup", help="Copy everything, as of one moment, into the new FILE. Managers may go on serving.")
@click.argument("file", type=click.Path(path_type=Path))
@daemon.with_settings
def db_backup(settings: ManagerSettings, file: Path) -> None:
    from usp.manager.store.copying import backup

    rows = sum(tasks.run(backup(settings.database, file)).values())
    click.echo(f"{file}: {rows} rows; its secrets are sealed with encryption.kek, which is to be kept elsewhere")


@db.command("restore", help="Fill the configured database, which must be empty, from a backup FILE.")
@click.argument("file", type=click.Path(path_type=Path))
@daemon.with_settings
def db_restore(settings: ManagerSettings, file: Path) -> None:
    from usp.manager.store.copying import restore

    rows = sum(tasks.run(restore(file, settings.database)).values())
    click.echo(f"{rows} rows; start the managers with the encryption.kek of that time, look at `usp status`, then push")
