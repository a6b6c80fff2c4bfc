"""The command line that the three daemons share: options, settings, log, event loop, signals, exit codes.

A daemon is an `async def run(settings, stop)` that returns when `stop` is set and it has drained. It tells systemd with
`sdnotify.notify(READY=1)` when it serves, and may pass a callback to `on_reload` for SIGHUP. A failure is a `UspError`;
it ends as clear lines on stderr and exit code 1 (2 if the configuration is wrong), never as a traceback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, Final, TypeVar

import click

from usp import __version__, hardening, log, sdnotify, tasks
from usp.errors import UspError
from usp.model import Model
from usp.settings import DIRECTORY, LogSettings, load, redacted

Settings = TypeVar("Settings", bound=Model)
Run = Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]

FAILED: Final = 1
BAD_CONFIGURATION: Final = 2

_log = log.get_logger(__name__)
_reloads: Final[list[Callable[[Any], None]]] = []


def on_reload(callback: Callable[[Any], None]) -> None:
    """At SIGHUP, call this with the settings as the file has them now. (Log level and file are dealt with here.)"""
    _reloads.append(callback)


def command(
    name: str, model: type[Settings], run: Run[Settings], needs: Callable[[Settings], Sequence[str]] | None = None
) -> click.Command:
    """The daemon's command line. `needs`: the files that it reads beside its configuration; others it will not be able
    to open, unless `sandbox` is off."""
    return click.command(name, help=_help(name))(_options(name, _main(name, model, run, needs)))


def group(name: str, model: type[Settings], run: Run[Settings]) -> click.Group:
    """The same, to hang subcommands on (see `with_settings`); `serve`, or none, runs the daemon."""
    main = _options(name, _main(name, model, run))
    commands = click.group(name, invoke_without_command=True, help=_help(name))(main)

    @commands.command(help="Run the daemon (what happens without a command, too).")
    @click.pass_context
    def serve(context: click.Context) -> None:
        run_daemon(name, model, context.obj[2], run)

    return commands


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Decorates a subcommand of a `group`: its first argument will be the settings."""

    @click.pass_context
    def wrapper(context: click.Context, *args: Any, **kwargs: Any) -> None:
        name, model, config = context.find_root().obj
        with exiting(name):
            function(load(model, config, os.environ), *args, **kwargs)

    return update_wrapper(wrapper, function)


@contextmanager
def exiting(name: str) -> Iterator[None]:
    """Ends the process with clear lines when a UspError comes out."""
    try:
        yield
    except UspError as error:
        for line in [str(problem) for problem in error.problems] or [f"{name}: {error}"]:
            click.echo(line, err=True)
        log.shutdown()
        sys.exit(BAD_CONFIGURATION if error.code.startswith("settings.") else FAILED)


def run_daemon(
    name: str,
    model: type[Settings],
    config: str,
    run: Run[Settings],
    needs: Callable[[Settings], Sequence[str]] | None = None,
) -> None:
    """From the configuration file to the end of the daemon."""
    with exiting(name):
        settings = load(model, config, os.environ)
        free = _confined(settings, config, needs) if needs else ""
        log.setup(_log_settings(settings), name)
        log.context(**{name.removeprefix("usp-"): getattr(settings, "name", None)})
        if free:
            _log.warn("daemon.not_confined", reason=free)
        _warn_of_secrets(config, settings)
        hardening.give_up()
        tasks.run(_supervised(name, model, config, settings, run))
        log.shutdown()


# --- the command line ---


def _help(name: str) -> str:
    return f"Run {name}. Arguments of the configuration file may be overridden by USP_<BLOCK>__<ARGUMENT>."


def _main(
    name: str,
    model: type[Settings],
    run: Run[Settings],
    needs: Callable[[Settings], Sequence[str]] | None = None,
) -> Callable[..., None]:
    @click.pass_context
    def main(context: click.Context, config: str, check: bool) -> None:
        context.obj = (name, model, config)
        if context.invoked_subcommand is not None:
            return
        if check:
            with exiting(name):
                click.echo(redacted(load(model, config, os.environ)))
        else:
            run_daemon(name, model, config, run, needs)

    return main


def _options(name: str, main: Callable[..., None]) -> Callable[..., None]:
    config = click.option(
        "-config",
        "--config",
        default=f"{DIRECTORY}/{name}.hcl",
        show_default=True,
        envvar="USP_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="The configuration file.",
    )
    check = click.option("--check", is_flag=True, help="Check the configuration, print what is in effect, exit.")
    return config(check(click.version_option(__version__, prog_name=name)(main)))


# --- the process ---


def _log_settings(settings: Model) -> LogSettings:
    found = getattr(settings, "log", None)
    assert isinstance(found, LogSettings)
    return found


def _confined(settings: Settings, config: str, needs: Callable[[Settings], Sequence[str]]) -> str:
    """What keeps it from being so. Directories are kept, not files: at a reload others may stand there."""
    if not getattr(settings, "sandbox", False):
        return "sandbox is off"
    kept = {os.path.dirname(os.path.abspath(path)) for path in (config, *needs(settings))}
    return hardening.confine(_log_settings(settings).path, *sorted(kept), alone=False)


def _warn_of_secrets(config: str, settings: Model) -> None:
    """A key file that others can read is refused. A configuration is not: an installation may have had it like that for
    long, and would not come up after an upgrade."""
    if getattr(settings, "holds_secrets", False) and os.stat(config).st_mode & 0o007:
        reason = f"holds a secret, and everybody may read it (chmod o-rwx {config})"
        _log.warn("settings.exposed", config=config, reason=reason)


async def _supervised(name: str, model: type[Settings], config: str, settings: Settings, run: Run[Settings]) -> None:
    """`run` with signals wired up and systemd informed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_stop, stop, number)
    loop.add_signal_handler(signal.SIGHUP, _on_hangup, model, config)
    helpers = tasks.TaskSet()
    interval = sdnotify.watchdog_interval()
    if interval is not None:
        helpers.spawn(_feed_watchdog(interval), "watchdog")
    _log.info("daemon.started", release=__version__, pid=os.getpid(), config=config)
    try:
        await run(settings, stop)
    except UspError as error:
        _log.error("daemon.failed", exc_info=error)
        raise
    except Exception as error:
        _log.error("daemon.failed", exc_info=error)
        raise UspError("internal", f"{type(error).__name__}; the log has the details") from error
    finally:
        await helpers.cancel()
    _log.info("daemon.stopped")


def _on_stop(stop: asyncio.Event, number: int) -> None:
    _log.info("daemon.stopping", signal=signal.Signals(number).name)
    sdnotify.notify(STOPPING=1)
    stop.set()


def _on_hangup(model: type[Model], config: str) -> None:
    sdnotify.notify(RELOADING=1)
    try:
        settings = load(model, config, os.environ)
    except UspError as error:
        _log.error("daemon.not_reloaded", exc_info=error)
    else:
        log.set_level(_log_settings(settings).level)
        log.reopen()
        for callback in _reloads:
            callback(settings)
        _log.info("daemon.reloaded")
    sdnotify.notify(READY=1)


async def _feed_watchdog(interval: float) -> None:
    while True:
        sdnotify.notify(WATCHDOG=1)
        await asyncio.sleep(interval)
