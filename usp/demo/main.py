"""The command line of usp-demo."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import usp
from usp.databases import DatabaseSettings
from usp.demo import haproxy, setup, target
from usp.demo.events import Events
from usp.demo.keys import Keys, make
from usp.demo.layout import LOOPBACK, PORT_BASE, Layout, plan, private_file
from usp.demo.managers import ADMIN, database_of, start_managers
from usp.demo.processes import Process, Processes, python
from usp.errors import UspError

START_SECONDS = 30.0
PARTNER = "partner"
STOP = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Options:
    servers: int
    managers: int
    database: DatabaseSettings | None
    workers: int
    direct: bool
    port_base: int
    haproxy: bool
    ready_file: Path | None
    json: bool
    target: setup.Target | None


def _deaf() -> None:
    """Not SIG_IGN: Python complains when a signal was already on its way."""
    for number in STOP:
        signal.signal(number, lambda number, frame: None)


def _interrupted(number: int, frame: object) -> None:
    """Once: two signals at the same moment must not end the ending, and leave processes behind."""
    _deaf()
    raise KeyboardInterrupt


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), help="Where to put it [a fresh temporary directory]"
)
@click.option("--servers", default=1, show_default=True, type=click.IntRange(1, 20), help="How many usp-servers")
@click.option("--managers", default=1, show_default=True, type=click.IntRange(1, 9), help="How many usp-managers")
@click.option(
    "--database",
    metavar="URL",
    help="An empty database, postgresql://... or oracle://..., or @FILE with that [a SQLite file]",
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Workers per usp-server")
@click.option("--direct", is_flag=True, help="No usp-client: targets are dialled directly")
@click.option(
    "--port-base", default=PORT_BASE, show_default=True, type=click.IntRange(1, 65000), help="First partner port"
)
@click.option("--haproxy", "balanced", is_flag=True, help="Put HAProxy in front, on port base + 100, 101, 102")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written when all is up: how to reach everything")
@click.option("--json", "as_json", is_flag=True, help="Print the ready file's content and events as JSON lines")
@click.option("--target", "address", metavar="HOST:PORT", help="An SFTP target that exists [one of the demo's own]")
@click.option("--target-user", help="Its user")
@click.option("--target-key", type=click.Path(path_type=Path, exists=True), help="The user's private key")
@click.option("--target-host-key", type=click.Path(path_type=Path, exists=True), help="The target's public key")
@click.version_option(usp.__version__, prog_name="usp-demo")
def main(
    directory: Path | None,
    servers: int,
    managers: int,
    database: str | None,
    workers: int,
    direct: bool,
    port_base: int,
    balanced: bool,
    ready_file: Path | None,
    as_json: bool,
    address: str | None,
    target_user: str | None,
    target_key: Path | None,
    target_host_key: Path | None,
) -> None:
    """The whole suite on one machine: manager(s), server(s), client(s) and a target, until Ctrl-C."""
    existing = _existing_target(address, target_user, target_key, target_host_key)
    root = (directory or Path(tempfile.mkdtemp(prefix="usp-demo-"))).resolve()
    for number in STOP:
        signal.signal(number, _interrupted)
    processes = Processes()
    status = 0
    try:
        shared = database_of(database, managers)
        counts = (servers, managers, shared, workers)
        options = Options(*counts, direct, port_base, balanced, ready_file, as_json, existing)
        ready, events = _start(options, root, processes)
        _announce(ready, options)
        _watch(events, processes, options)
    except KeyboardInterrupt:
        pass
    except UspError as error:
        click.echo(f"usp-demo: {error}", err=True)
        status = 2 if error.code == "settings.invalid" else 1
    finally:
        _deaf()
        if ready_file:
            ready_file.unlink(missing_ok=True)
        processes.stop()
    sys.exit(status)


def _existing_target(
    address: str | None, user: str | None, key: Path | None, host_key: Path | None
) -> setup.Target | None:
    if not (address or user or key or host_key):
        return None
    if not (address and user and key and host_key):
        raise click.UsageError("--target, --target-user, --target-key and --target-host-key go together")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise click.BadParameter("must be HOST:PORT", param_hint="--target")
    return setup.Target(host.strip("[]"), int(port), host_key.read_text().strip(), user, key.read_text())


def _start(options: Options, root: Path, processes: Processes) -> tuple[dict[str, Any], Events]:
    if options.haproxy:
        haproxy.program()
    counts = {"servers": options.servers, "managers": options.managers}
    layout = plan(root, **counts, port_base=options.port_base, haproxy=options.haproxy)
    layout.make()
    keys = make(layout, servers=options.servers)
    password, target_password, admin_password = (secrets.token_urlsafe(12) for _ in range(3))
    at, passthrough, shown = options.target, {}, {}
    if at is None:
        process = target.start(processes, layout, keys, username=PARTNER, password=target_password)
        host_key, gateway = keys.target_host_key.public, keys.gateway.private
        at = setup.Target(LOOPBACK, layout.target_port, host_key, PARTNER, gateway)
        passthrough = {"username": PARTNER, "password": target_password}
        shown = {"root": str(layout.files), "pid": process.pid}
    servers = [_start_server(processes, layout, keys, n, options) for n in range(1, options.servers + 1)]
    clients = [
        _start_client(processes, layout, keys, n, at) for n in range(1, options.servers + 1) if not options.direct
    ]
    managers = start_managers(processes, layout, keys, options.database, admin_password)
    url = f"https://{LOOPBACK}:{layout.managers[0].api}"
    for ports in layout.managers:
        _wait_for(f"http://{LOOPBACK}:{ports.metrics}/readyz", processes)
    token = asyncio.run(setup.api_token(url, keys.ca, ADMIN, admin_password))
    login = {"username": PARTNER, "password": password}
    asyncio.run(_configure(setup.Api(url, token, keys.ca), layout, keys, at, login, passthrough, options))
    balancer = None
    if options.haproxy:
        balancer = haproxy.start(processes, layout)
        try:
            asyncio.run(setup.prove(layout.front, keys.host_key.public, **login))
        finally:
            processes.check()  # HAProxy's own words, if it has ended
    processes.check()

    known_hosts = private_file(
        root / "known_hosts",
        "".join(
            f"[{LOOPBACK}]:{port} {host_key}\n"
            for first in (*(ports.partners for ports in layout.servers), *([layout.front] if options.haproxy else []))
            for port, host_key in (
                (first, keys.host_key.public),
                (first + 1, keys.host_key.public),
                (first + 2, at.host_key),  # Direct Mode: the target's own
            )
        ),
    )
    first = layout.servers[0]
    ready: dict[str, Any] = {
        "dir": str(root),
        "partner": {
            "host": LOOPBACK,
            "port": first.partners,
            **login,
            "private_key": str(keys.partner.path),
            "known_hosts": str(known_hosts),
        },
        "listeners": {
            "partners": {"port": first.partners},
            "passthrough": {"port": first.passthrough, **passthrough},
            "tcp": {"port": first.tcp},
        },
        **({"haproxy": haproxy.about(balancer, layout)} if balancer else {}),
        "servers": [
            {
                "name": process.name,
                "pid": process.pid,
                "worker_pids": _children(process.pid),
                "management_port": ports.management,
                "metrics": f"http://{LOOPBACK}:{ports.server_metrics}/metrics",
                "agent_port": ports.agent,
                "log": str(process.log),
                "audit": str(_audit(layout, process.name)),
            }
            for process, ports in zip(servers, layout.servers, strict=True)
        ],
        "clients": [
            {
                "name": process.name,
                "pid": process.pid,
                "metrics": f"http://{LOOPBACK}:{ports.client_metrics}/metrics",
                "log": str(process.log),
            }
            for process, ports in zip(clients, layout.servers, strict=False)
        ],
        "managers": [
            {
                "name": process.name,
                "url": f"https://{LOOPBACK}:{ports.api}",
                "pid": process.pid,
                "metrics": f"http://{LOOPBACK}:{ports.metrics}/metrics",
                "log": str(process.log),
            }
            for process, ports in zip(managers, layout.managers, strict=True)
        ],
        "admin": {"username": ADMIN, "password": admin_password, "token": token, "ca": str(keys.ca_path)},
        "target": {"host": at.host, "port": at.port, **shown},
    }
    if options.ready_file:
        part = options.ready_file.with_name(options.ready_file.name + ".part")
        private_file(part, json.dumps(ready, indent=1)).rename(options.ready_file)
    return ready, Events([_audit(layout, server.name) for server in servers], as_json=options.json)


async def _configure(
    api: setup.Api,
    layout: Layout,
    keys: Keys,
    at: setup.Target,
    login: dict[str, str],
    passthrough: dict[str, str],
    options: Options,
) -> None:
    """Configure, and prove every way in whose credentials are known."""
    partner = (login["username"], login["password"])
    async with api:
        await setup.configure(api, layout, keys, at, partner=partner, direct=options.direct)
    for ports in layout.servers:
        await setup.prove(ports.partners, keys.host_key.public, **login)
        key = keys.partner.private
        await setup.prove(ports.partners, keys.host_key.public, username=login["username"], private_key=key)
        if passthrough:
            await setup.prove(ports.passthrough, keys.host_key.public, **passthrough)
        await setup.prove_tcp(ports.tcp)


def _start_server(processes: Processes, layout: Layout, keys: Keys, number: int, options: Options) -> Process:
    name, ports, tls = f"usp-server-{number}", layout.servers[number - 1], keys.servers[number - 1]
    config = private_file(
        layout.etc / f"{name}.hcl",
        f"""\
name    = "{name}"
workers = {options.workers}

web {{
  address = "{LOOPBACK}"
  port    = {ports.management}
  tls {{
    cert = "{tls.cert_path}"
    key  = "{tls.key_path}"
    ca   = "{keys.ca_path}"
  }}
}}

audit {{
  path = "{_audit(layout, name)}"
}}

# All partners come from 127.0.0.1 here, also those who mistype. Limits show from another address: sftp -o
# BindAddress=127.0.0.2
limits {{
  exempt = ["{LOOPBACK}/32"]
}}

metrics {{
  port = {ports.server_metrics}
}}

agent {{
  port   = {ports.agent}
  notice = 3.0
}}
""",
    )
    command = python("usp.server.main", "-config", str(config))
    return processes.start(name, command, layout.log / f"{name}.log")


def _start_client(processes: Processes, layout: Layout, keys: Keys, number: int, at: setup.Target) -> Process:
    name, ports = f"usp-client-{number}", layout.servers[number - 1]
    host = f"[{at.host}]" if ":" in at.host else at.host
    config = private_file(
        layout.etc / f"{name}.hcl",
        f"""\
name  = "{name}"
key   = "{keys.clients[number - 1].path}"
allow = ["{host}:{at.port}"]

tunnel {{
  host     = "{LOOPBACK}"
  port     = {ports.tunnel}
  host_key = "{keys.tunnels[number - 1].public}"
}}

metrics {{
  port = {ports.client_metrics}
}}
""",
    )
    command = python("usp.client.main", "-config", str(config))
    return processes.start(name, command, layout.log / f"{name}.log")


def _audit(layout: Layout, server: str) -> Path:
    return layout.log / f"{server}.audit.jsonl"


def _wait_for(url: str, processes: Processes) -> None:
    """Wait until a readiness page answers 200."""
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + START_SECONDS
    while True:
        processes.check()
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  (our own loopback URL)
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise UspError("internal", f"{url} does not answer: {error}") from error
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(int(child) for child in text.split())


def _announce(ready: dict[str, Any], options: Options) -> None:
    if options.json:
        click.echo(json.dumps(ready))
        return
    partner, manager = ready["partner"], ready["managers"][0]
    front = f"  Over HAProxy:   add -P {ready['haproxy']['port']}\n" if "haproxy" in ready else ""
    click.echo(
        f"""
USP is up in {ready["dir"]}

  As a partner:   sftp -P {partner["port"]} -o UserKnownHostsFile={partner["known_hosts"]} {partner["username"]}@{partner["host"]}
  Password:       {partner["password"]}
  Or with a key:  add -i {partner["private_key"]}
{front}  Files land in:  {ready["target"].get("root", "{host}:{port}".format(**ready["target"]))}

  Web UI:         {manager["url"]}   user {ready["admin"]["username"]}, password {ready["admin"]["password"]}
  Command line:   export USP_URL={manager["url"]} USP_CA={ready["admin"]["ca"]} USP_TOKEN={ready["admin"]["token"]}
                  {Path(sys.executable).parent / "usp"} status

What happens is shown below. Ctrl-C stops everything.
"""  # noqa: E501  (a command that people copy)
    )


def _watch(events: Events, processes: Processes, options: Options) -> None:
    while True:
        for line in events.lines():
            click.echo(line)
        for process in processes.ended():
            click.echo(f"{process.name} (pid {process.pid}) ended with status {process.popen.returncode}", err=True)
        time.sleep(0.25)


if __name__ == "__main__":
    main()
