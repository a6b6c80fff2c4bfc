"""`usp`: look at a gateway, push to it, start and stop parts of it.

Exit codes: 0 fine, 1 the manager refused or does not answer, 2 wrong usage. Heavy modules are imported where they are
needed, so that `usp` starts at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any, Final

import click

from usp import __version__
from usp.cli import (
    access,
    authority,
    balance,
    bulk,
    certificates,
    codes,
    diagnose,
    doctor,
    events,
    penalties,
    policy,
    sessions,
    shell,
    show,
    stored,
    versions,
    webhooks,
)
from usp.cli.client import Client, segment
from usp.errors import UspError

FAILED: Final = 1
USAGE: Final = 2
ADDRESS: Final = "usp.address"
"""Where in the context the flags --url and --ca are."""

Row = Mapping[str, Any]
Make = Callable[[], Client]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar="USP_URL",
    show_envvar=True,
    help="The manager, such as https://manager.example:8443; several, with commas: the first that can be reached.",
)
@click.option("--token-file", metavar="FILE", help="Holds an API token; else USP_TOKEN does. (ps would show a flag.)")
@click.option(
    "--ca", envvar="USP_CA", show_envvar=True, metavar="FILE", help="The CA to trust, PEM; else this machine's."
)
@click.version_option(__version__, prog_name="usp")
@click.pass_context
def main(context: click.Context, url: str | None, token_file: str | None, ca: str | None) -> None:
    """Administer USP over the REST API of one of its managers.

    Every command takes --json, for one JSON document on the standard output. Exit codes: 0 fine, 1 refused or failed,
    2 wrong usage.
    """

    context.obj = partial(connect, url, token_file, ca)
    context.meta[ADDRESS] = (url, ca)


def connect(url: str | None, token_file: str | None, ca: str | None, timeout: float = 30.0) -> Client:
    """The manager and who we are there, by the flags, the environment, or `usp login`."""
    login = stored.read()
    address = url or (login.url if login else None)
    if not address:
        raise click.UsageError("which manager? Give --url, set USP_URL, or `usp login`.")
    same = login if login and login.url == address else None  # a token goes to its own manager only
    token = _token(token_file) if token_file else os.environ.get("USP_TOKEN") or (same.token if same else None)
    if not token:
        raise click.UsageError("who are you? `usp login`, or set USP_TOKEN (`usp tokens create NAME` makes one).")
    return Client(address, token, ca or (same.ca if same else None), timeout)


@main.command(help=access.login.__doc__)
@click.argument("username", required=False)
@click.pass_context
def login(context: click.Context, username: str | None) -> None:
    url, ca = context.meta[ADDRESS]
    with _failures():
        known = stored.read()
        if not url and known:
            url, ca = known.url, ca or known.ca
        if not url:
            raise click.UsageError("which manager? Give --url or set USP_URL.")
        access.login(url, str(Path(ca).absolute()) if ca else None, username)


@main.command(help=access.logout.__doc__)
def logout() -> None:
    with _failures():
        access.logout()


def _token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise click.UsageError(f"the token file '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"the token file '{path}' holds no token") from None


def command(
    function: Callable[..., None], group: click.Group = main, name: str | None = None, **how: Any
) -> click.Command:
    """A subcommand: its first arguments are the client and whether JSON is wanted; its failures are lines on stderr."""

    def asking(make: Make, as_json: bool, **kwargs: Any) -> None:
        function(make(), as_json, **kwargs)

    return offline(update_wrapper(asking, function), group, name, **how)


def offline(
    function: Callable[..., None], group: click.Group = main, name: str | None = None, **how: Any
) -> click.Command:
    """One that needs no manager: its first argument makes the client, if it has to ask one after all."""

    @click.pass_context
    def run(context: click.Context, /, as_json: bool, **kwargs: Any) -> None:
        if context.invoked_subcommand is None:
            with _failures(as_json):
                function(context.obj, as_json, **kwargs)

    option = click.option("--json", "as_json", is_flag=True, help="One JSON document, for machines.")
    made: click.Command = group.command(name, short_help=_first_sentence(function), **how)(
        option(update_wrapper(run, function))
    )
    return shell.complete(made, connect)


def _first_sentence(function: Callable[..., None]) -> str:
    """Whole, where click would cut it at the end of the line."""
    text = " ".join((function.__doc__ or "").split("\n\n")[0].split())
    sentence = text.partition(". ")[0]
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


@contextmanager
def _failures(as_json: bool = False) -> Iterator[None]:
    try:
        yield
    except UspError as error:
        _fail(error, as_json=as_json)


def _fail(error: UspError, *, as_json: bool) -> None:
    if as_json:
        errors = [{"loc": problem.loc, "msg": problem.msg} for problem in error.problems]
        show.as_json({"code": error.code, "detail": error.message, "errors": errors})
    click.echo(f"usp: {show.printable(error.message)} [{error.code}]", err=True)
    for problem in error.problems:
        click.echo(f"  {show.printable(str(problem))}", err=True)
    sys.exit(USAGE if error.code.startswith("settings.") else FAILED)


# --- status ---


@command
@click.argument("server", required=False)
def status(client: Client, as_json: bool, server: str | None) -> None:
    """How all servers are, or one with its listeners and tunnels."""
    if server is None:
        answer = client.whole("/servers")
        if as_json:
            show.as_json(answer)
        else:
            show.table(SERVERS, answer["items"], empty="there is no Proxy Server yet")
            certificates.warn(client)
        return
    answer = client.get(f"/servers/{segment(server)}")
    if as_json:
        show.as_json(answer)
        return
    show.table(SERVERS, [answer])
    show.table(PORTS, _ports(answer, "listeners"), title="Listeners")
    show.table(TUNNELS, _ports(answer, "tunnels"), title="Tunnels")


def _ports(server: Row, part: str) -> list[Row]:
    """With what is wanted of a port as its reason, as long as it is not so."""
    wanted = server.get("run_states", {})
    rows = []
    for row in server.get(part, ()):
        order = wanted.get(row.get("id"))
        due = order is not None and (order == "stopped") != (row["state"] == "stopped")
        rows.append({**row, "reason": f"to be {order}; {row.get('reason', '')}".rstrip("; ")} if due else row)
    return rows


def _links(tunnel: Row) -> str:
    up = [link["client"] for link in tunnel.get("links", ()) if link["state"] == "up"]
    return ", ".join(f"{client} x{up.count(client)}" for client in sorted(set(up)))


def _versions(server: Row) -> str:
    has, wanted = server.get("version", 0), server.get("desired", 0)
    return str(has) if has == wanted else f"{has} (wanted: {wanted})"


SERVERS: Final[tuple[show.Column, ...]] = (
    ("server", lambda row: row["name"]),
    ("state", lambda row: row["state"]),
    ("version", _versions),
    ("seen", lambda row: show.since(row.get("seen_at"))),
    ("sessions", lambda row: row.get("sessions")),
    ("why", lambda row: row.get("reason")),
)
PORTS: Final[tuple[show.Column, ...]] = (
    ("name", lambda row: row["name"]),
    ("state", lambda row: row["state"]),
    ("address", lambda row: f"{row['address']}:{row['port']}"),
    ("type", lambda row: row.get("type")),
    ("sessions", lambda row: row.get("sessions")),
    ("why", lambda row: row.get("reason")),
)
TUNNELS: Final[tuple[show.Column, ...]] = (
    ("name", lambda row: row["name"]),
    ("state", lambda row: row["state"]),
    ("address", lambda row: f"{row['address']}:{row['port']}"),
    ("links up", _links),
    ("why", lambda row: row.get("reason")),
)


# --- items ---


@command
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--public", is_flag=True, help="Only the certificate, or the public key as one line, for a file.")
def get(client: Client, as_json: bool, kind: str, name: str | None, public: bool) -> None:
    """Items of a KIND (such as listeners), or one by NAME or id. Secrets are never shown."""
    path = f"/items/{segment(kind)}"
    if public and name is None:
        raise click.UsageError("--public goes with a NAME.")
    if name is not None:
        item = client.get(f"{path}/{segment(name)}")
        if public:
            click.echo(_public(kind, item))
        elif as_json:
            show.as_json(item)
        else:
            show.fields(item)
        return
    items = list(client.pages(path))
    if as_json:
        show.as_json({"items": items})
    else:
        show.table(ITEMS, items, empty=f"there are no {kind} yet")


def _public(kind: str, item: Row) -> str:
    """What others are given of a key or certificate, as `/public` answers it."""
    found = item.get("certificate") or item.get("public_key") or item.get("facts", {}).get("public_key")
    if not found:
        raise click.UsageError(f"{kind} have no public part: there are keys and certificates that do.")
    return str(found).strip()


ITEMS: Final[tuple[show.Column, ...]] = (
    ("name", lambda row: row["name"]),
    ("enabled", lambda row: row.get("enabled")),
    ("revision", lambda row: row.get("revision")),
    ("changed", lambda row: f"{show.since(row.get('updated_at'))} ago"),
    ("description", lambda row: row.get("description")),
    ("id", lambda row: row.get("id")),
)


# --- acting ---


def _switch(client: Client, as_json: bool, name: str, verb: str, *, tunnel: bool) -> None:
    kind = "tunnels" if tunnel else "deployments"
    answer = client.post(f"/{kind}/{segment(name)}/{verb}")
    if as_json:
        show.as_json(answer)
    else:
        click.echo(f"{name}: to be {'started' if verb == 'start' else 'stopped'}")


@command
@click.argument("deployment")
@click.option("--tunnel", is_flag=True, help="The name is a Tunnel's.")
def start(client: Client, as_json: bool, deployment: str, tunnel: bool) -> None:
    """Start a DEPLOYMENT's listener (with --tunnel: a Tunnel), and keep it so."""
    _switch(client, as_json, deployment, "start", tunnel=tunnel)


@command
@click.argument("deployment")
@click.option("--tunnel", is_flag=True, help="The name is a Tunnel's.")
def stop(client: Client, as_json: bool, deployment: str, tunnel: bool) -> None:
    """Stop a DEPLOYMENT's listener (with --tunnel: a Tunnel), and keep it so."""
    _switch(client, as_json, deployment, "stop", tunnel=tunnel)


for _module in (versions, diagnose, bulk, access, penalties, sessions, balance, certificates):
    for _function in _module.COMMANDS:
        command(_function)
main.add_command(shell.completion)
main.add_command(authority.pki)
main.add_command(codes.error)
main.add_command(doctor.doctor)
for _group, (_about, _functions) in (*access.GROUPS.items(), *policy.GROUPS.items(), *webhooks.GROUPS.items()):
    _made = main.group(_group, help=_about)(lambda: None)
    for _name, _function in _functions.items():
        command(_function, _made, _name)
_events = command(events.events, cls=click.Group, invoke_without_command=True)
assert isinstance(_events, click.Group)
offline(events.verify, _events)


if __name__ == "__main__":
    main()
