"""No secret is written where it does not belong.

Every kind that has secrets is made with known ones, over the API, with all daemons at log level TRACE; it is pushed,
partners and administrators log in, rightly and wrongly, everything is exported. Then each secret is searched for, plain
and encoded, in the database and its journal, the logs and audits, every answer of every GET route, the metrics, and the
command lines and environments of all processes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from tests.e2e.suite import ENV, Suite, running
from usp import pki

pytestmark = [pytest.mark.e2e, pytest.mark.once]

PASSWORDS = {
    name: f"SECRET-{name}-zq9Xw4Kp"
    for name in (
        "account", "account-changed", "rule", "rule-refused", "user", "user-changed", "wrong-login", "wrong-name",
        "partner-wrong", "passphrase", "export-passphrase", "explain",
    )
}  # fmt: skip


OPEN = contextlib.ExitStack()
"""Connections to the manager."""


class Ssh:
    """A fresh key, as the API takes it."""

    def __init__(self, passphrase: str | None = None) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.pem = key.export_private_key(passphrase=passphrase).decode()
        self.traces = traces_of_key(key.export_private_key().decode())
        if passphrase:
            self.traces |= set(lines_of(self.pem)[1:])


def traces_of(secret: bytes) -> set[bytes]:
    """The secret as it may be written: plain, hexadecimal, base64 (at any offset), in a URL."""
    found = {secret, secret.hex().encode()}
    for offset in range(3):
        middle = base64.b64encode(b"\0" * offset + secret)[4:-4]
        found |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    with contextlib.suppress(UnicodeDecodeError):
        found.add(quote(secret.decode()).encode())
    return found


def traces_of_key(pem: str) -> set[bytes]:
    """The private number of a key, and the lines of its PEM form that tell something of it."""
    number = _private_number(pem)
    lines = lines_of(pem)
    start = base64.b64decode(b"".join(lines)).index(number)
    first, last = start * 4 // 3 // len(lines[0]), (start + len(number) - 1) * 4 // 3 // len(lines[0])
    return traces_of(number) | set(lines[first : last + 1])


def _private_number(pem: str) -> bytes:
    load = load_ssh_private_key if "OPENSSH" in pem else load_pem_private_key
    key = load(pem.encode(), password=None)
    if isinstance(key, Ed25519PrivateKey):
        return key.private_bytes_raw()
    assert isinstance(key, EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")


def lines_of(pem: str) -> list[bytes]:
    return [line.encode() for line in pem.splitlines() if line and not line.startswith("-")]


class Caller:
    """Asks the manager, over one connection."""

    def __init__(self, suite: Suite, token: str = "") -> None:
        parts = urlsplit(suite.ready["managers"][0]["url"])
        context = ssl.create_default_context(cafile=suite.ready["admin"]["ca"])
        assert parts.hostname
        self.new = partial(http.client.HTTPSConnection, parts.hostname, parts.port, context=context)
        self.http = self.new(timeout=60)
        OPEN.callback(self.http.close)
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        self.http.request(method, path, None if body is None else json.dumps(body).encode(), self.headers)
        response = self.http.getresponse()
        return response.status, response.read()

    def ok(self, method: str, path: str, body: object = None) -> Any:
        status, content = self(method, f"/api/v1{path}", body)
        assert status < 300, (method, path, status, content)
        return json.loads(content) if content else None

    def stream(self, path: str) -> bytes:
        """What an endless answer has to say at once."""
        connection = self.new(timeout=2)
        connection.request("GET", path, headers={**self.headers, "Last-Event-ID": "0"})
        found = b""
        with contextlib.suppress(TimeoutError):
            response = connection.getresponse()
            while chunk := response.read1(1 << 16):
                found += chunk
        connection.close()
        return found


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", env={"USP_LOG__LEVEL": "TRACE"}) as found, OPEN:
        yield found


def configure(suite: Suite, admin: Caller) -> dict[str, set[bytes]]:
    """Everything that can hold a secret; what each of them must not leave behind."""
    secrets = {name: traces_of(password.encode()) for name, password in PASSWORDS.items()}
    host, gateway, tunnel = Ssh(), Ssh("SECRET-passphrase-zq9Xw4Kp"), Ssh()
    tls = pki.issue(pki.new_ca("other", now=datetime.now(UTC)), now=datetime.now(UTC), dns=["x"])
    secrets |= {"host key": host.traces, "gateway key": gateway.traces, "tunnel key": tunnel.traces}
    secrets["TLS key"] = traces_of_key(tls.key)

    def make(kind: str, name: str, **fields: Any) -> None:
        admin.ok("POST", f"/items/{kind}", {"name": name, **fields})

    make("private-keys", "s-host", private_key=host.pem)
    make("private-keys", "s-gateway", private_key=gateway.pem, passphrase=PASSWORDS["passphrase"])
    make("private-keys", "s-tunnel", private_key=tunnel.pem)
    make("tls-certificates", "s-tls", certificate=tls.cert, private_key=tls.key)
    make("account-repositories", "s-accounts")
    make("accounts", "s-account", account_repository="s-accounts", username="known", password=PASSWORDS["account"])
    rule = {
        "inbound_method": "password", "inbound_source": "account_repository", "account_repository": "s-accounts",
        "outbound_credentials": "dedicated", "username": "gateway", "password": PASSWORDS["rule"],
        "private_key": "s-gateway",
    }  # fmt: skip
    make("rules", "s-rule", **rule)
    make("inbound-nodes", "s-node", ip_filter="everybody", host_keys=["s-host"], rule="s-rule")
    make("routes", "s-route", inbound_nodes=["s-node"], outbound_nodes=["target"])
    port = suite.port(5)
    make("listeners", "s-listener", address="127.0.0.1", port=port, route="s-route", default_outbound_node="target")
    make("deployments", "s-deployment", listener="s-listener", proxy_server="usp-server-1")
    make("tunnels", "s-tunnel", proxy_server="usp-server-1", address="127.0.0.1", port=port + 1, private_key="s-tunnel")

    account = admin.ok("GET", "/items/accounts/s-account")
    admin.ok("PUT", "/items/accounts/s-account", {**account, "password": PASSWORDS["account-changed"]})
    refused = [
        ("rules", {**rule, "name": "s-bad", "inbound_source": "none", "password": PASSWORDS["rule-refused"]}),
        ("private-keys", {"name": "s-bad", "private_key": host.pem[:-60] + "AAAA"}),
        ("accounts", {"name": "s-bad", "password": [PASSWORDS["rule-refused"]]}),
    ]
    for kind, fields in refused:
        assert admin("POST", f"/api/v1/items/{kind}", fields)[0] == 422
    return secrets


def administer(suite: Suite, admin: Caller) -> dict[str, set[bytes]]:
    """Users, logins and tokens; what each of them must not leave behind."""
    secrets: dict[str, set[bytes]] = {}
    for name in ("s-reader", "s-admin"):
        role = "admin" if name == "s-admin" else "read_only"
        admin.ok("POST", "/users", {"username": name, "password": PASSWORDS["user"], "role": role})
    anybody = Caller(suite)
    login = anybody.ok("POST", "/login", {"username": "s-reader", "password": PASSWORDS["user"]})
    secrets["login"] = {login["token"].encode()}
    reader = Caller(suite, login["token"])
    reader.ok("POST", "/me/password", {"current": PASSWORDS["user"], "password": PASSWORDS["user-changed"]})
    token = admin.ok("POST", "/tokens", {"name": "s-token", "username": "s-admin"})["token"]
    secrets["token"] = {token.encode()}
    for path in ("/login", "/me/password"):
        body = {"username": "s-admin", "password": PASSWORDS["wrong-login"]}
        if path != "/login":
            body = {"current": PASSWORDS["wrong-login"], "password": PASSWORDS["wrong-login"]}
        assert reader("POST", f"/api/v1{path}", body)[0] in (401, 422)
    assert anybody("POST", "/api/v1/login", {"username": f"{PASSWORDS['wrong-name']} !", "password": "x"})[0] == 401
    assert Caller(suite, token[:-1])("GET", "/api/v1/me")[0] == 401
    secrets["token, nearly"] = {token[4:-1].encode()}
    return secrets


def answers(suite: Suite, caller: Caller) -> Iterator[tuple[str, bytes]]:
    """Every answer of every GET route, for everything that there is."""
    document = json.loads(caller("GET", "/openapi.json")[1])
    kinds = [path.rsplit("/", 1)[1] for path in document["paths"] if re.fullmatch(r"/api/v1/items/[a-z-]+", path)]
    assert len(kinds) == 16
    ids = {kind: [item["id"] for item in caller.ok("GET", f"/items/{kind}?limit=1000")["items"]] for kind in kinds}
    versions = caller.ok("GET", "/servers/usp-server-1/versions")["items"]
    numbers = [str(version["version"]) for version in versions]
    asked = 0
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        if path.endswith("/stream"):
            yield path, caller.stream(path)
            continue
        for where in _filled(path, ids, numbers):
            status, content = caller("GET", where)
            assert status < 500, where
            asked += 1
            yield where, content
    assert asked > 60


def _filled(path: str, ids: dict[str, list[str]], numbers: list[str]) -> list[str]:
    found = [path]
    kind = re.match(r"/api/v1/items/([a-z-]+)/", path)
    for name in re.findall(r"{(\w+)}", path):
        if name in ("number", "version", "n", "revision"):
            values = [*numbers, "1", "2"]
        elif name in ("key", "id") and kind:
            values = ids[kind[1]]
        else:
            values = ["usp-server-1", "s-admin", "s-listener", "everybody", "1"]
        found = [each.replace(f"{{{name}}}", value) for each in found for value in values]
    return found


def processes(suite: Suite) -> Iterator[int]:
    ready = suite.ready
    for each in (*ready["servers"], *ready["clients"], *ready["managers"]):
        yield each["pid"]
        yield from each.get("worker_pids", ())


def everything_written(suite: Suite, admin: Caller, reader: Caller) -> Iterator[tuple[str, bytes]]:
    for caller in (admin, reader):
        yield from answers(suite, caller)
    for folder in ("manager", "log"):
        files = [file for file in (suite.dir / folder).rglob("*") if file.is_file()]
        assert files, folder
        yield from ((str(file), file.read_bytes()) for file in files)
    for each in (*suite.ready["servers"], *suite.ready["clients"], *suite.ready["managers"]):
        with urllib.request.urlopen(each["metrics"]) as response:
            yield each["metrics"], response.read()
    for pid in processes(suite):
        for name in ("cmdline", "environ"):
            yield f"{pid} {name}", Path(f"/proc/{pid}/{name}").read_bytes()


def usp(suite: Suite, token: str, *arguments: str) -> str:
    ready = suite.ready
    env = {**ENV, "USP_URL": ready["managers"][0]["url"], "USP_CA": ready["admin"]["ca"], "USP_TOKEN": token}
    argv = [sys.executable, "-m", "usp.cli.main", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True).stdout


def test_no_secret_is_anywhere(suite: Suite, tmp_path: Path) -> None:
    ready = suite.ready
    admin = Caller(suite, ready["admin"]["token"])
    secrets = configure(suite, admin) | administer(suite, admin)
    etc = suite.dir / "etc"
    for name in ("password", "token"):
        secrets[f"demo's {name}"] = traces_of(ready["admin"][name].encode())
    secrets["demo's partner password"] = traces_of(ready["partner"]["password"].encode())
    kek = base64.b64decode((etc / "kek").read_text())
    secrets["KEK"] = traces_of(kek) | {(etc / "kek").read_bytes().strip()}
    for file in etc.iterdir():
        if file.is_file() and "PRIVATE KEY" in (text := file.read_text(errors="replace")):
            secrets[file.name] = traces_of_key(text)

    assert admin.ok("POST", "/servers/usp-server-1/push?wait=30")["state"] == "applied"
    assert suite.sftp("pwd\n").returncode == 0
    assert suite.sftp("pwd\n", password=PASSWORDS["partner-wrong"]).returncode != 0
    port = suite.port(5)
    for password in (PASSWORDS["account-changed"], PASSWORDS["partner-wrong"]):
        _knock(port, password)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSWORDS["export-passphrase"])
    exported = usp(suite, ready["admin"]["token"], "export", "--passphrase-file", str(passphrase))
    plain = usp(suite, ready["admin"]["token"], "export")
    login = {"username": "gateway", "password": PASSWORDS["explain"]}
    explain = {"server": "usp-server-1", "listener": "s-listener", "source": "127.0.0.1", "user": "known"}
    admin("POST", "/api/v1/explain", {**explain, "probe": True, "login": login})
    assert "TRACE" in suite.logs() or "DEBUG" in suite.logs(), "the level is in force"

    reader_token = admin.ok("POST", "/tokens", {"name": "s-read", "username": "s-reader"})["token"]
    secrets["reader's token"] = {reader_token.encode()}
    written = [("export", exported.encode()), ("plain export", plain.encode())]
    written += everything_written(suite, admin, Caller(suite, reader_token))
    found = [
        f"{secret} in {where}: {trace!r}"
        for where, content in written
        for secret, traces in secrets.items()
        for trace in traces
        if trace in content
    ]
    found += [
        f"the hash of a password in {where}: {hashed[0]!r}"
        for where, content in written
        if "/manager/" not in where  # the database has those of users
        if (hashed := re.search(rb".{40}argon2id[$%]\S{60}", content))
    ]
    assert not found, "\n".join(found[:20])
    assert len(written) > 150
    assert sum(len(content) for _, content in written) > 1 << 20, "there was something to look at"


def _knock(port: int, password: str) -> None:
    """An SFTP login, whatever comes of it."""
    subprocess.run(
        ["sshpass", "-e", "sftp", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1", "-P", str(port),
         "-b", "/dev/null", "-o", "BatchMode=no", "known@127.0.0.1"],
        env={**ENV, "SSHPASS": password}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
