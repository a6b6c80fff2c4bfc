"""usp-manager: the daemon (`serve`) and what an administrator does beside it, with the database at hand."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import click

from usp import daemon, health, sdnotify, tasks
from usp.errors import UspError
from usp.log import get_logger
from usp.manager.db import db
from usp.settings import EventSettings, ManagerSettings

log = get_logger(__name__)

PATIENCE: Final = 3.0
"""Seconds for the database to answer before this manager is not ready."""

TIDY_SECONDS: Final = 600.0

LOCAL: Final = "usp-manager"
"""The author of what is done on the command line."""


@asynccontextmanager
async def opened(settings: ManagerSettings) -> AsyncIterator[Any]:
    """The application over the open store."""
    from usp.manager.app import App
    from usp.manager.store import Store

    store = await Store.open(
        settings.database,
        settings.encryption.key(),
        now=datetime.now(UTC),
        new_id=lambda: str(uuid4()),
        previous_kek=settings.encryption.previous_key(),
    )
    try:
        app = App(store, settings)
        try:
            yield app
        finally:
            await app.close()
    finally:
        await store.close()


async def run(settings: ManagerSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`."""
    from usp.manager.store.single import only_manager

    with only_manager(settings.database, settings.name):
        async with opened(settings) as app:
            await _serve(app, settings, stop)


async def _serve(app: Any, settings: ManagerSettings, stop: asyncio.Event) -> None:
    from usp.manager.api import application
    from usp.manager.collect import Collector
    from usp.manager.pusher import Pusher
    from usp.manager.rollouts import Runner
    from usp.manager.ui import series
    from usp.manager.ui.ledger import Ledger
    from usp.manager.ui.site import install
    from usp.manager.web import Web
    from usp.manager.webhooks import Teller

    if settings.encryption.rotation is not None:
        log.warning("kek.rotation", reason="encryption.rotation is set: run `usp-manager rotate-kek`, then remove it")
    site = application(app)
    charted, ledger = series.Series(), Ledger()
    install(site, app, charted, ledger)
    web = Web(site, settings.web)
    pusher = Pusher(
        app.store, app.controls, app.bell, settings.push, clock=app.clock, random=random.random, name=settings.name
    )
    collector = Collector(app.store, app.controls, pusher.holdings.holds, clock=app.clock, random=random.random)
    runner = Runner(app.store, app.pushes, app.bell, str(uuid4()), interval=settings.push.interval, clock=app.clock)
    insecure = settings.events.insecure_webhooks
    teller = Teller(app.store, app.clock, random.random, app.note, insecure=insecure)
    state = Readiness(app.store)
    healthy = await health.start(settings.metrics, state.unready)
    helpers = tasks.TaskSet()
    try:
        await web.start()
        helpers.spawn(pusher.run(), "pusher")
        helpers.spawn(collector.run(), "collector")
        helpers.spawn(runner.run(), "rollouts")
        helpers.spawn(teller.run(), "webhooks")
        helpers.spawn(state.watch(), "readiness")
        helpers.spawn(_tidy(app.store, settings.events, app.clock), "tidying")
        helpers.spawn(series.watch(app, charted, ledger), "charts")
        helpers.spawn(app.expiring.mine.watch(), "certificates")
        daemon.on_reload(lambda anew: _reload(web, app.expiring, anew))
        sdnotify.notify(READY=1, STATUS="serving")
        await stop.wait()
    finally:
        app.ending.set()
        await helpers.cancel()
        await web.stop()
        await healthy.close()


class Readiness:
    """Whether the database answers: asked every second, so that a probe of /readyz costs nothing."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._reason = "starting"

    def unready(self) -> str:
        return self._reason

    async def watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._store.ping()
                self._reason = ""
            except UspError as error:
                self._reason = error.message
            except TimeoutError:
                self._reason = f"the database does not answer within {PATIENCE:g} s"
            await asyncio.sleep(1.0)


async def _tidy(store: Any, events: EventSettings, clock: Callable[[], datetime]) -> None:
    """Forget now and then what nobody will ask for any more."""
    from usp.manager.collect import keep

    holder = str(uuid4())
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await store.tidy()
            await keep(store, events, holder, clock)
        except UspError as error:
            log.warning("database.not_tidied", exc_info=error)


def _reload(web: Any, expiring: Any, settings: ManagerSettings) -> None:
    try:
        web.reload(settings.web)
    except UspError as error:
        log.error("tls.not_reloaded", exc_info=error)
        return
    expiring.replaced(settings)
    tasks.spawn(expiring.mine.look(), "certificates")


main: Final = daemon.group("usp-manager", ManagerSettings, run)


main.add_command(db)


@main.group(help="Administrators.")
def user() -> None: ...


@user.command("add", help="Make a new user. The password is asked for, or read from standard input.")
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "read_only"]), required=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@daemon.with_settings
def user_add(settings: ManagerSettings, name: str, role: str, password_stdin: bool) -> None:
    from usp.manager.store.rows import Role

    password = _password(password_stdin)

    async def add() -> None:
        async with opened(settings) as app:
            await app.administrators.add(name, Role(role), password, author=LOCAL)

    tasks.run(add())
    click.echo(f"user {name} was made")


@user.command("reset-password", help="Give a user a new password and end their logins.")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@daemon.with_settings
def user_reset_password(settings: ManagerSettings, name: str, password_stdin: bool) -> None:
    password = _password(password_stdin)

    async def reset() -> None:
        async with opened(settings) as app:
            await app.administrators.set_password(name, password, author=LOCAL)

    tasks.run(reset())
    click.echo(f"user {name} has a new password")


@user.command("reset-totp", help="Take away a user's second factor: the password alone is enough again.")
@click.argument("name")
@daemon.with_settings
def user_reset_totp(settings: ManagerSettings, name: str) -> None:
    from usp.manager.store.rows import Role
    from usp.manager.users import Actor

    async def reset() -> None:
        async with opened(settings) as app:
            await app.factors.reset(Actor(LOCAL, Role.ADMIN), await app.administrators.find(name))

    tasks.run(reset())
    click.echo(f"user {name} logs in without a second factor now")


@main.group(help="API tokens.")
def token() -> None: ...


@token.command("add", help="Make an API token of a user and print it: it is shown this once.")
@click.argument("name")
@click.option("--user", "username", required=True, help="Whose token it is; it may do what they may.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long it is valid.")
@daemon.with_settings
def token_add(settings: ManagerSettings, name: str, username: str, days: int) -> None:
    async def add() -> str:
        async with opened(settings) as app:
            owner = await app.administrators.find(username)
            expires = datetime.now(UTC) + timedelta(days=days)
            _, text = await app.administrators.add_token(name, owner, author=LOCAL, expires_at=expires)
            return str(text)

    click.echo(tasks.run(add()))


@main.command("remove-ip-filter", help="Let every address reach UI and API again.")
@daemon.with_settings
def remove_ip_filter(settings: ManagerSettings) -> None:
    from usp.manager.store.rows import Role
    from usp.manager.users import Actor

    async def remove() -> str:
        async with opened(settings) as app:
            return str(await app.guard.remove(Actor(LOCAL, Role.ADMIN)))

    name = tasks.run(remove())
    click.echo(f"the IP Filter {name} guards UI and API no longer" if name else "there was none")


@main.command(
    "rotate-kek", help="Wrap all data keys with encryption.kek, where encryption.rotation has the one before."
)
@daemon.with_settings
def rotate_kek(settings: ManagerSettings) -> None:
    from usp.manager.store.keys import rotate_kek

    previous = settings.encryption.previous_key()
    if previous is None:
        hint = "encryption.kek is to be the new key, and rotation { previous_kek = ... } in it the one before"
        raise UspError("settings.invalid", f"there is no encryption.rotation block: {hint}")

    async def rotate() -> Any:
        done = await rotate_kek(settings.database, settings.encryption.key(), previous)
        await _note(settings, "kek.rotate", rewrapped=done.rewrapped, already=done.already)
        return done

    done = tasks.run(rotate())
    click.echo(
        f"{done.rewrapped} data keys were wrapped with the new key, {done.already} had been before. The previous key "
        "is not needed any more: remove encryption.rotation on every manager."
    )


@main.command("rotate-data-key", help="Make a new data key, for what will be sealed from now on.")
@daemon.with_settings
def rotate_data_key(settings: ManagerSettings) -> None:
    from usp.manager.store.keys import rotate_data_key

    kek, previous = settings.encryption.key(), settings.encryption.previous_key()

    async def rotate() -> int:
        now, new_id = datetime.now(UTC), lambda: str(uuid4())
        count = await rotate_data_key(settings.database, kek, previous, now=now, new_id=new_id)
        await _note(settings, "data_key.rotate", keys=count)
        return count

    count = tasks.run(rotate())
    click.echo(f"there are {count} data keys now; managers that run take the new one up when they are started again")


async def _note(settings: ManagerSettings, action: str, **detail: Any) -> None:
    """An event of what was done beside the application."""
    from usp.manager.store.rows import Role
    from usp.manager.users import Actor

    async with opened(settings) as app:
        await app.note(Actor(LOCAL, Role.ADMIN), action, **detail)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


if __name__ == "__main__":
    main()
