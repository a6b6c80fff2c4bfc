"""The demo's managers, and the database that they share: a file of the demo's own, or one that exists and is empty."""

from __future__ import annotations

import json

from usp.databases import ARGUMENTS, DatabaseEngine, DatabaseSettings, from_argument
from usp.demo.keys import Keys
from usp.demo.layout import LOOPBACK, Layout, ManagerPorts, private_file
from usp.demo.processes import Process, Processes, python, run
from usp.errors import UspError

ADMIN = "admin"


def database_of(url: str | None, managers: int) -> DatabaseSettings | None:
    """None: a file of the demo's own. UspError `settings.invalid`."""
    settings = None if url in (None, "sqlite") else from_argument(str(url))
    if managers > 1 and (settings is None or settings.engine is DatabaseEngine.SQLITE):
        hint = "--managers wants a database that they can share: --database postgresql://... or oracle://..."
        raise UspError("settings.invalid", hint)
    return settings


def start_managers(
    processes: Processes, layout: Layout, keys: Keys, shared: DatabaseSettings | None, password: str
) -> list[Process]:
    """Their one administrator is ADMIN, with that password."""
    block = _block(shared or DatabaseSettings(path=str(layout.root / "manager" / "usp.db")), layout)
    started = []
    for number, ports in enumerate(layout.managers, start=1):
        name = f"usp-manager-{number}"
        config = private_file(layout.etc / f"{name}.hcl", _config(name, ports, keys, block))
        command = python("usp.manager.main", "-config", str(config))
        if number == 1:
            run([*command, "db", "upgrade"])
            run([*command, "user", "add", ADMIN, "--role", "admin", "--password-stdin"], stdin=password)
        started.append(processes.start(name, [*command, "serve"], layout.log / f"{name}.log"))
    return started


def _block(settings: DatabaseSettings, layout: Layout) -> str:
    """What the URL said, as HCL; a password goes into a file of its own."""
    values = {name: getattr(settings, name) for name in ("engine", *sorted(ARGUMENTS[settings.engine]))}
    if settings.password is not None:
        del values["password"]
        file = private_file(layout.etc / "database-password", settings.password.reveal())
        values["password_file"] = str(file)
    if settings.wallet_password is not None:
        values["wallet_password"] = settings.wallet_password.reveal()
    fields = DatabaseSettings.model_fields
    said = {name: value for name, value in values.items() if name == "engine" or value != fields[name].default}
    return "\n".join(f"  {name} = {json.dumps(value)}" for name, value in said.items())


def _config(name: str, ports: ManagerPorts, keys: Keys, database: str) -> str:
    return f"""\
name = "{name}"

encryption {{
  kek_source = "file"
  kek        = "{keys.kek_path}"
}}

database {{
{database}
}}

web {{
  address = "{LOOPBACK}"
  port    = {ports.api}
  tls {{
    cert = "{keys.manager_web.cert_path}"
    key  = "{keys.manager_web.key_path}"
  }}
}}

metrics {{
  port = {ports.metrics}
}}
"""
