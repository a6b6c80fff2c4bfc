"""usp-manager as its administrator meets it: the command line, and the daemon as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.manager.site import CA, KEK, NOW, PASSWORD
from tests.unit.server.support import free_port
from usp import pki
from usp.errors import UspError
from usp.manager.main import Readiness, main

ROOT = Path(__file__).parents[3]


class Place:
    """A directory with everything that a manager needs, and its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.metrics = free_port(), free_port()
        self.config = folder / "usp-manager.hcl"
        web = pki.issue(CA, now=NOW, ips=["127.0.0.1"])
        for name, text in (("cert", web.cert), ("key", web.key), ("kek", KEK), ("ca", CA.cert)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
        self.write("")

    def write(self, more: str) -> None:
        self.config.write_text(
            f"""
            encryption {{
              kek_source = "file"
              kek        = "{self.folder}/kek"
            }}
            database {{
              path = "{self.folder}/usp.db"
            }}
            web {{
              address = "127.0.0.1"
              port    = {self.port}
              tls {{
                cert = "{self.folder}/cert"
                key  = "{self.folder}/key"
              }}
            }}
            metrics {{
              port = {self.metrics}
            }}
            {more}
            """
        )

    def run(self, *arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, ["-config", str(self.config), *arguments], input=input, catch_exceptions=False)

    def get(self, url: str, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.folder / "ca")) if url.startswith("https") else None
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def ready(place: Place) -> Place:
    assert place.run("db", "upgrade").exit_code == 0
    return place


def test_the_database_is_upgraded_on_request_only(place: Place) -> None:
    before = place.run("db", "check")
    assert before.exit_code == 1
    assert "usp-manager db upgrade" in before.stderr
    refused = place.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    assert refused.exit_code == 1
    first = place.run("db", "upgrade")
    assert first.exit_code == 0
    assert place.run("db", "upgrade").stdout == first.stdout, "again: nothing to do"
    assert place.run("db", "check").exit_code == 0


def test_users_and_tokens(ready: Place) -> None:
    added = ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=f"{PASSWORD}\n")
    assert (added.exit_code, PASSWORD in added.output) == (0, False)
    again = ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    assert again.exit_code == 1
    assert "exists" in again.stderr
    short = ready.run("user", "add", "other", "--role", "read_only", "--password-stdin", input="short")
    assert short.exit_code == 1
    assert "password: must have" in short.stderr
    prompted = ready.run("user", "reset-password", "admin", input="another password\nanother password\n")
    assert prompted.exit_code == 0
    assert "another password" not in prompted.output
    assert ready.run("user", "reset-password", "nobody", "--password-stdin", input=PASSWORD).exit_code == 1
    none = ready.run("user", "reset-totp", "admin")
    assert (none.exit_code, "has no second factor" in none.stderr) == (1, True)
    token = ready.run("token", "add", "ci", "--user", "admin")
    assert token.exit_code == 0
    assert token.stdout.startswith("usp_")
    assert len(token.stdout.splitlines()) == 1
    assert ready.run("token", "add", "ci", "--user", "nobody").exit_code == 1


@pytest.mark.parametrize(
    "arguments", [["user", "add", "x"], ["user", "add", "x", "--role", "boss"], ["token", "add", "x"], ["nonsense"]]
)
def test_wrong_usage(place: Place, arguments: list[str]) -> None:
    assert place.run(*arguments).exit_code == 2


def test_a_wrong_key_is_refused(ready: Place) -> None:
    assert ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD).exit_code == 0
    (ready.folder / "kek").write_text(KEK.replace("A", "B"))
    refused = ready.run("token", "add", "ci", "--user", "admin")
    assert refused.exit_code == 1
    assert "encryption.kek is not the key" in refused.stderr


def test_the_key_is_rotated(ready: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new key in the environment, the old one in its file; then the new one alone."""
    assert ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD).exit_code == 0
    idle = ready.run("rotate-kek")
    assert (idle.exit_code, "no encryption.rotation block" in idle.stderr) == (2, True)
    assert ready.run("rotate-data-key").stdout.startswith("there are 2 data keys now")
    new = "B" + KEK[1:]
    monkeypatch.setenv("THE_NEW_KEK", new)
    old = f'kek_source = "file"\n              kek        = "{ready.folder}/kek"'
    block = f'rotation {{\n previous_kek_source = "file"\n previous_kek = "{ready.folder}/kek"\n }}'
    text = ready.config.read_text()
    assert old in text
    ready.config.write_text(text.replace(old, f'kek_source = "environment"\nkek = "THE_NEW_KEK"\n{block}'))
    assert ready.run("token", "add", "one", "--user", "admin").exit_code == 0, "managers know both meanwhile"
    done = ready.run("rotate-kek")
    assert (done.exit_code, done.stdout.split(" data keys")[0]) == (0, "2")
    assert ready.run("rotate-kek").stdout.startswith("0 data keys were wrapped with the new key, 2 had been before")
    ready.config.write_text(text.replace(old, 'kek_source = "environment"\nkek = "THE_NEW_KEK"'))
    (ready.folder / "kek").unlink()
    assert ready.run("token", "add", "two", "--user", "admin").exit_code == 0
    monkeypatch.delenv("THE_NEW_KEK")
    with sqlite3.connect(ready.folder / "usp.db") as database:
        noted = database.execute("SELECT action, author, detail FROM usp_event WHERE action LIKE '%rotate'").fetchall()
    database.close()
    assert noted == [
        ("data_key.rotate", "usp-manager", '{"keys":2}'),
        ("kek.rotate", "usp-manager", '{"rewrapped":2,"already":0}'),
        ("kek.rotate", "usp-manager", '{"rewrapped":0,"already":2}'),
    ]
    unset = ready.run("token", "add", "three", "--user", "admin")
    assert (unset.exit_code, "environment variable that is not set" in unset.stderr) == (2, True)
    assert new not in done.output + unset.output


def test_an_ip_filter_is_removed(ready: Place) -> None:
    assert ready.run("remove-ip-filter").stdout == "there was none\n"


def test_a_manager_with_a_wrong_key_does_not_serve(ready: Place) -> None:
    ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    (ready.folder / "kek").write_text("B" + KEK[1:])
    done = subprocess.run(
        [sys.executable, "-m", "usp.manager.main", "-config", str(ready.config)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "encryption.kek is not the key that this database's secrets were sealed with" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_wrong_configuration(place: Place) -> None:
    place.write("pushh {\n}")
    refused = place.run("db", "check")
    assert refused.exit_code == 2
    assert f"{place.config}:" in refused.stderr


@contextmanager
def serving(place: Place) -> Iterator[subprocess.Popen[str]]:
    """The daemon, until systemd would be told that it serves."""
    address = str(place.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-m", "usp.manager.main", "-config", str(place.config)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": address},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            yield process
        finally:
            process.kill()
            process.communicate()


def test_the_daemon(ready: Place) -> None:
    ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    token = ready.run("token", "add", "ci", "--user", "admin").stdout.strip()
    text = ready.config.read_text().replace('"file"', '"value"').replace(f'"{ready.folder}/kek"', f'"{KEK.strip()}"')
    ready.config.write_text(text)
    ready.config.chmod(0o644)
    with serving(ready) as process:
        base = f"https://127.0.0.1:{ready.port}"
        assert ready.get(f"{base}/api/v1/servers")[0] == 401
        status, body = ready.get(f"{base}/api/v1/servers", token)
        assert (status, json.loads(body)) == (200, {"items": [], "next": None})
        assert ready.get(f"{base}/livez")[0] == 200
        assert ready.get(f"{base}/readyz")[0] == 200
        status, body = ready.get(f"http://127.0.0.1:{ready.metrics}/metrics")
        assert (status, b"usp_build_info" in body) == (200, True)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
        assert process.returncode == 0
    assert "daemon.stopped" in output
    assert f'settings.exposed config={ready.config} reason="holds a secret' in output
    assert KEK.strip() not in output
    assert "Traceback" not in output
    assert token not in output


def test_a_daemon_that_cannot_start(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "usp.manager.main", "-config", str(place.config), "serve"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "usp-manager db upgrade" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


async def test_readiness_follows_the_database() -> None:
    class Database:
        error: UspError | None = UspError("database.unavailable", "it is away")

        async def ping(self) -> None:
            if self.error:
                raise self.error

    state = Readiness(Database())
    assert state.unready() == "starting"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(state.watch(), 0.01)
    assert state.unready() == "it is away"
    Database.error = None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(state.watch(), 0.01)
    assert state.unready() == ""
