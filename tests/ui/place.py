"""A manager with an empty database, and daemons beside it, in a folder of their own."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests import ports
from tests.e2e.suite import ENV
from usp import pki, tls
from usp.manager.ui.bundle import ETC

ADMIN, PASSWORD = "operator", "a pass phrase of the operator"


class Place:
    """A folder with the daemons of this test, and the ports that they get."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        base = ports.port_base()
        self.manager, self.management, self.tunnel, self.partners, self.metrics = (base + n for n in range(5))
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.manager}"

    def start(self, daemon: str, config: Path, **env: str) -> None:
        with (self.folder / f"{daemon}.log").open("wb") as log:
            command = [sys.executable, "-m", f"usp.{daemon}.main", "-config", str(config)]
            self._running.append(subprocess.Popen(command, stdout=log, stderr=log, env={**ENV, **env}))

    def stop(self) -> None:
        for each in reversed(self._running):
            each.terminate()
        for each in self._running:
            each.wait(20)

    def install(self, archive: Path, name: str) -> Path:
        """What the README in it says, at another place than /opt."""
        folder = self.folder / name
        with zipfile.ZipFile(archive) as files:
            for info in files.infolist():
                path = folder / info.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(files.read(info).decode().replace(ETC, str(folder)))
                path.chmod(info.external_attr >> 16)
        return folder


@contextmanager
def empty_manager(folder: Path, more: str = "") -> Iterator[Place]:
    """`more`: of its settings file."""
    place = Place(folder)
    identity = pki.self_signed(now=datetime.now(UTC), uri=tls.manager_uri("m"), ips=["127.0.0.1"])
    for name, text in (("cert", identity.cert), ("key", identity.key)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    config = folder / "usp-manager.hcl"
    kek = base64.b64encode(secrets.token_bytes(32)).decode()
    config.write_text(
        f'name = "m"\nencryption {{\n  kek = "{kek}"\n}}\ndatabase {{\n  path = "{folder}/usp.db"\n}}\n'
        f'web {{\n  address = "127.0.0.1"\n  port = {place.manager}\n  tls {{\n    cert = "{folder}/cert"\n'
        f'    key = "{folder}/key"\n  }}\n}}\nmetrics {{\n  port = {place.metrics}\n}}\n{more}'
    )
    config.chmod(0o600)
    manager = [sys.executable, "-m", "usp.manager.main", "-config", str(config)]
    subprocess.run([*manager, "db", "upgrade"], check=True, env=ENV, capture_output=True)
    subprocess.run(
        [*manager, "user", "add", ADMIN, "--role", "admin", "--password-stdin"],
        input=PASSWORD.encode(), check=True, env=ENV, capture_output=True,
    )  # fmt: skip
    place.start("manager", config)
    try:
        deadline = time.monotonic() + 30
        while not _ready(place.metrics):
            assert time.monotonic() < deadline, (folder / "manager.log").read_text()
            time.sleep(0.1)
        yield place
    finally:
        place.stop()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True
    except OSError:
        return False
