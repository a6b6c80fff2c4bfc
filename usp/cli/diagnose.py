"""Commands for finding out what is wrong: explain, scan-host-key, test-address. (`usp.cli.main` makes them commands.)

They exit with 1 when the partner is refused, a hop fails, or the address is blocked, so that scripts can tell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from usp.cli import show
from usp.cli.client import Client, segment
from usp.errors import UspError

PATIENCE: Final = 30.0
"""Seconds that a probe may take beyond a usual answer."""
REFUSED: Final = 1

Row = Mapping[str, Any]


@click.option("--server", required=True, help="A Proxy Server.")
@click.option("--listener", required=True, help="A Listener.")
@click.option("--source", required=True, metavar="IP", help="The partner's address.")
@click.option("--user", required=True, help="What the partner logs in as.")
@click.option("--probe", is_flag=True, help="Have the server test the path to the target, hop by hop.")
@click.option("--login", metavar="NAME", help="With --probe: log in at the target as NAME; asks for the password.")
@click.option("--dedicated", is_flag=True, help="With --probe: log in at the target with the Rule's credentials.")
def explain(
    client: Client,
    as_json: bool,
    server: str,
    listener: str,
    source: str,
    user: str,
    probe: bool,
    login: str | None,
    dedicated: bool,
) -> None:
    """What becomes of a partner's connection: which Inbound Node, Rule, Account, target and path, and why."""
    body: dict[str, Any] = {"server": server, "listener": listener, "source": source, "user": user, "probe": probe}
    if (login or dedicated) and not probe:
        raise click.UsageError("--login and --dedicated go with --probe.")
    if login:
        body["login"] = {"username": login, "password": _password(f"Password of {login} at the target")}
    elif dedicated:
        body["login"] = "dedicated"
    answer = client.post("/explain", body, patience=PATIENCE if probe else 0.0)
    found = answer.get("probe")
    if as_json:
        show.as_json(answer)
    else:
        for step in answer["steps"]:
            click.echo(f"{_mark(step)} {step['step']}: {show.printable(step['text'])}")
        for warning in answer["warnings"]:
            click.echo(f"!  {show.printable(warning)}")
        if found:
            show.table(HOPS, found["hops"], title="Probe")
        click.echo("the partner is let in" if answer["ok"] else "the partner is refused")
        if found and not found["ok"]:
            last = found["hops"][-1]
            click.echo(f"the path ends at {last['name']}: {show.printable(last['detail'])}")
    if not answer["ok"] or (found and not found["ok"]):
        sys.exit(REFUSED)


@click.argument("outbound_node")
@click.option("--server", required=True, help="The Proxy Server that shall look.")
@click.option("--tunnel", help="Look through this Tunnel,")
@click.option("--client", "proxy_client", help="from this Proxy Client.")
@click.option("--pin", is_flag=True, help="Add the keys to those of the OUTBOUND_NODE, once you have agreed.")
@click.option("--yes", is_flag=True, help="With --pin: you have compared the fingerprints already.")
def scan_host_key(
    client: Client,
    as_json: bool,
    outbound_node: str,
    server: str,
    tunnel: str | None,
    proxy_client: str | None,
    pin: bool,
    yes: bool,
) -> None:
    """Which host keys the target of an OUTBOUND_NODE shows to a server."""
    body = {"server": server, "tunnel": tunnel, "proxy_client": proxy_client}
    answer = client.post(f"/outbound-nodes/{segment(outbound_node)}/scan-host-key", body, patience=PATIENCE)
    if as_json:
        show.as_json(answer)
    else:
        show.table(HOPS, answer["hops"])
        show.table(KEYS, answer["host_keys"], title="Host keys")
    if not answer["ok"]:
        sys.exit(REFUSED)
    new = [key for key in answer["host_keys"] if not key["pinned"]]
    if not pin or not new:
        return
    if not yes:
        click.confirm("Are these the fingerprints that the target's administrator told you?", abort=True, err=True)
    _pin(client, outbound_node, server, new)
    click.echo(f"{outbound_node}: {len(new)} pinned; push to put them into force", err=True)


@click.argument("ip_filter")
@click.argument("address")
def test_address(client: Client, as_json: bool, ip_filter: str, address: str) -> None:
    """Does an IP_FILTER let an ADDRESS in, and by which rule?"""
    answer = client.post(f"/ip-filters/{segment(ip_filter)}/test", {"address": address})
    if as_json:
        show.as_json(answer)
    else:
        click.echo(f"{answer['action']}: {answer['text']}")
    if answer["action"] != "allow":
        sys.exit(REFUSED)


COMMANDS: Final[tuple[Callable[..., None], ...]] = (explain, scan_host_key, test_address)


def _password(prompt: str) -> str:
    """Asked for at a terminal, else the first line of the input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt(prompt, hide_input=True, err=True))


def _pin(client: Client, outbound_node: str, server: str, new: list[Row]) -> None:
    """A Public Key for each one that is none yet, and all of them on the node, if nobody changed it meanwhile."""
    path = f"/items/outbound-nodes/{segment(outbound_node)}"
    node = client.get(path)
    known = {item["facts"].get("fingerprint"): item["id"] for item in client.pages("/items/public-keys")}
    ids = [known.get(key["fingerprint"]) or _public_key(client, node["name"], server, key) for key in new]
    client.put(path, {**node, "host_keys": [*node["host_keys"], *ids]}, revision=node["revision"])


def _public_key(client: Client, node: str, server: str, key: Row) -> str:
    digest = "".join(character for character in key["fingerprint"].removeprefix("SHA256:") if character.isalnum())
    item = {
        "name": f"{node[:200]}-{key['type'].replace('@', '-').replace('.', '-')}-{digest[:8]}",
        "description": f"Shown to {server} by the target of {node}",
        "public_key": key["line"],
    }
    made = client.post("/items/public-keys", item)
    if not isinstance(made, Mapping):
        raise UspError("manager.unreachable", "it made a Public Key and does not say which")
    return str(made["id"])


def _mark(step: Row) -> str:
    if step["ok"]:
        return "ok"
    return "- " if step["step"] == "inbound_node" else "NO"


HOPS: Final[tuple[show.Column, ...]] = (
    ("hop", lambda row: row["name"]),
    ("ok", lambda row: row["ok"]),
    ("ms", lambda row: row["ms"]),
    ("code", lambda row: row.get("code")),
    ("detail", lambda row: row["detail"]),
)
KEYS: Final[tuple[show.Column, ...]] = (
    ("type", lambda row: row["type"]),
    ("bits", lambda row: row["bits"]),
    ("fingerprint", lambda row: row["fingerprint"]),
    ("pinned", lambda row: row["pinned"]),
)
