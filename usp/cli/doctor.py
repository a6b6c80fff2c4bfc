"""`usp doctor`: what is wrong with the daemons of this host, and what to do. The checks: usp.cli.checks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from usp.cli import show, stored
from usp.errors import UspError

if TYPE_CHECKING:
    from usp.cli.checks import Finding, Findings
    from usp.settings import ClientSettings, ManagerSettings, ServerSettings

DIRECTORY: Final = "/opt/udmg/etc"
Command = Callable[..., Any]
DAEMONS: Final = ("server", "client", "manager")


def _option(daemon: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{daemon}", metavar="FILE", help=f"The configuration; else {DIRECTORY}/usp-{daemon}.hcl, if it is there."
    )


@click.command()
@_option("server")
@_option("client")
@_option("manager")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for machines.")
@click.pass_context
def doctor(context: click.Context, /, as_json: bool, **files: str | None) -> None:
    """What is wrong with the daemons on this host: configuration, keys, certificates, ports, peers, clocks, limits.

    Run it as root or as the daemons' user; it changes nothing. Knows the manager by USP_URL or `usp login`. Exit code 1
    when something does not work like that."""
    given = {daemon: Path(file) for daemon, file in files.items() if file}
    usual = {daemon: Path(DIRECTORY, f"usp-{daemon}.hcl") for daemon in DAEMONS}
    found = given or {daemon: path for daemon, path in usual.items() if path.exists()}
    if not found:
        raise click.UsageError(f"there is no configuration in {DIRECTORY}: name one, such as --server FILE")
    url, ca = context.meta.get("usp.address", (None, None))
    login = stored.read()
    if not url and login:
        url, ca = login.url, ca or login.ca
    findings = [("host", each) for each in _machine(url, ca)]
    for daemon, path in found.items():
        findings += [(f"usp-{daemon}", each) for each in _daemon(daemon, path)]
    grave = any(each.grave for _, each in findings)
    _tell(findings, list(found), as_json=as_json)
    context.exit(1 if grave else 0)


def _tell(findings: list[tuple[str, Finding]], looked: list[str], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"where": where, "about": each.about, "message": each.message, "grave": each.grave}
            for where, each in findings
        ]
        show.as_json({"daemons": [f"usp-{daemon}" for daemon in looked], "findings": rows})
        return
    for where, each in findings:
        word = "WRONG" if each.grave else "look"
        click.echo(f"{word:5} {where}: {show.printable(each.about)}: {show.printable(each.message)}")
    names = ", ".join(f"usp-{daemon}" for daemon in looked)
    click.echo(f"{names}: {len(findings) or 'no'} finding{'s' * (len(findings) != 1)}")


def _machine(url: str | None, ca: str | None) -> Findings:
    from usp.cli import checks

    yield from checks.clock()
    for each in url.split(",") if url else ():
        yield from checks.clock_of(each.strip(), ca, time.time())


def _daemon(daemon: str, path: Path) -> Findings:
    """First all that its own start would refuse, then what it would not notice."""
    from usp.cli.checks import Finding
    from usp.model import Model
    from usp.settings import ClientSettings, ManagerSettings, ServerSettings, load

    models: dict[str, type[Model]] = {"server": ServerSettings, "client": ClientSettings, "manager": ManagerSettings}
    model = models[daemon]
    try:
        load(model, path, os.environ)
    except UspError as error:
        for problem in error.problems:
            where = ".".join(map(str, problem.loc)) or "configuration"
            yield Finding(where, ": ".join(part for part in (problem.at, problem.msg) if part))
        if not error.problems:
            yield Finding("configuration", error.message)
    try:
        settings = load(model, path, os.environ, files=False)
    except UspError:
        return
    match settings:
        case ServerSettings():
            yield from _server(settings)
        case ClientSettings():
            yield from _client(settings)
        case ManagerSettings():
            yield from _manager(path, settings)


def _server(settings: ServerSettings) -> Iterator[Finding]:
    from usp import tls
    from usp.cli import checks

    web = settings.web
    yield from checks.certificate("web.tls.cert", web.tls.cert, time.time(), uri=tls.server_uri(settings.name))
    yield from checks.pair("web.tls", web.tls.cert, web.tls.key, web.tls.ca)
    yield from checks.authority("web.tls.ca", web.tls.ca)
    yield from checks.private("web.tls.key", web.tls.key)
    yield from checks.port("web.port", web.address, web.port, web.tls.cert)
    yield from checks.log(settings.log)
    if settings.audit.path:
        yield from checks.writable("audit.path", settings.audit.path)
    yield from checks.files(settings)
    yield from checks.sandbox("server.sandbox", settings.server.sandbox)
    yield from _health(settings)


def _client(settings: ClientSettings) -> Iterator[Finding]:
    from usp.cli import checks

    yield from checks.ssh_private("key", settings.key)
    yield from checks.private("key", settings.key)
    yield from checks.ssh_public("tunnel.host_key", settings)
    yield from checks.peer("tunnel.host", settings.tunnel.host, settings.tunnel.port)
    yield from checks.allowed(settings)
    yield from checks.sandbox("sandbox", settings.sandbox)
    yield from checks.log(settings.log)
    yield from _health(settings)


def _manager(path: Path, settings: ManagerSettings) -> Iterator[Finding]:
    from usp.cli import checks

    web = settings.web
    yield from checks.secrets_inside(path, settings)
    yield from checks.certificate("web.tls.cert", web.tls.cert, time.time())
    yield from checks.pair("web.tls", web.tls.cert, web.tls.key)
    yield from checks.private("web.tls.key", web.tls.key)
    yield from checks.port("web.port", web.address, web.port, web.tls.cert)
    yield from checks.database(settings.database)
    yield from checks.log(settings.log)
    yield from _health(settings)


def _health(settings: ServerSettings | ClientSettings | ManagerSettings) -> Iterator[Finding]:
    from usp.cli import checks

    if settings.metrics.port:
        yield from checks.port("metrics.port", settings.metrics.address, settings.metrics.port)
    yield from checks.exposed(settings.metrics)
    yield from checks.version(settings.metrics)
