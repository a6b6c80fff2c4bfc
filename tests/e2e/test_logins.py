"""Every Rule but LDAP's, with real clients: who gets in, what the target saw of it, and what was audited."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import Suite, wait_until
from usp.ssh import keys

FIRST_PORT = 12260
WRONG = "a-wrong-Password-4711"
RULES = {
    1: ("password", "none", "passthrough"),
    2: ("password", "account_repository", "passthrough"),
    3: ("password", "account_repository", "dedicated"),
    6: ("password_and_public_key", "account_repository", "dedicated"),
    7: ("password_and_public_key", "account_repository", "passthrough"),
    8: ("password_or_public_key", "account_repository", "dedicated"),
    9: ("public_key", "account_repository", "dedicated"),
}
DECIDED = re.compile(r"(Accepted|Failed) (password|publickey|keyboard-interactive/\S+) for ")
KEY_FIRST, PASSWORD_FIRST = "publickey,password", "password,publickey"


@dataclass(frozen=True)
class Seen:
    """What came of one attempt. `target`: the lines that the target's sshd wrote about logins."""

    entered: bool
    logins: tuple[tuple[str, str], ...]
    outcome: str
    target: tuple[str, ...]


class Logins:
    """The suite with one listener per Rule, an Account, and its keys."""

    def __init__(self, suite: Suite, directory: Path) -> None:
        self.suite = suite
        self.username = suite.ready["listeners"]["passthrough"]["username"]
        self.password = suite.ready["listeners"]["passthrough"]["password"]
        self.mine, self.foreign = directory / "mine", directory / "foreign"
        self.public = {path: self._generate(path) for path in (self.mine, self.foreign)}
        self.known_hosts = directory / "known_hosts"
        host_key = Path(suite.ready["partner"]["known_hosts"]).read_text().split(maxsplit=1)[1].splitlines()[0]
        self.host_key = host_key
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{FIRST_PORT + n} {host_key}\n" for n in RULES))

    @staticmethod
    def _generate(path: Path) -> str:
        private, public = keys.generate()
        path.touch(mode=0o600)
        path.write_text(private.reveal())
        return public

    def configure(self) -> None:
        def make(kind: str, name: str, **fields: Any) -> None:
            self.suite.api("POST", f"/items/{kind}", {"name": name, **fields})

        make("public-keys", "login-mine", public_key=self.public[self.mine])
        make("account-repositories", "logins")
        account: dict[str, Any] = {"username": self.username, "password": self.password}
        make("accounts", "login", account_repository="logins", public_keys=["login-mine"], **account)
        for number, (method, source, outbound) in RULES.items():
            name = f"rule-{number}"
            more: dict[str, Any] = {} if source == "none" else {"account_repository": "logins"}
            if outbound == "dedicated":
                more |= {"username": self.username, "private_key": "gateway"}
            make("rules", name, inbound_method=method, inbound_source=source, outbound_credentials=outbound, **more)
            make("inbound-nodes", name, ip_filter="everybody", host_keys=["host-key"], rule=name)
            make("routes", name, inbound_nodes=[name], outbound_nodes=["target"])
            port = FIRST_PORT + number
            make("listeners", name, address="127.0.0.1", port=port, route=name, default_outbound_node="target")
            path = {"tunnel": "tunnel-1", "proxy_client": "usp-client-1"}
            make("deployments", name, listener=name, proxy_server="usp-server-1", **path)
        self.suite.api("POST", "/servers/usp-server-1/push?wait=10")

    def remove(self) -> None:
        for kind in ("deployments", "listeners", "routes", "inbound-nodes", "rules"):
            for number in RULES:
                self.suite.api("DELETE", f"/items/{kind}/rule-{number}")
        for item in ("accounts/login", "account-repositories/logins", "public-keys/login-mine"):
            self.suite.api("DELETE", f"/items/{item}")
        self.suite.api("POST", "/servers/usp-server-1/push?wait=10")

    def attempt(self, number: int, argv: list[str], *, password: str | None, batch: str = "pwd\n") -> Seen:
        log, listener = self.suite.dir / "log" / "target.log", f"rule-{number}"

        def events(event: str) -> list[dict[str, Any]]:
            return [entry for entry in self.suite.audit(event) if entry["listener"] == listener]

        ended, told, read = len(events("session.ended")), len(events("login")), len(log.read_text())
        done = subprocess.run(
            argv, input=batch, env={**os.environ, "SSHPASS": password or ""}, text=True,
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        wait_until(lambda: len(events("session.ended")) == ended + 1, 5, f"one session ends: {done.stderr}")
        lines = [line.split(" from ")[0] for line in log.read_text()[read:].splitlines()]
        return Seen(
            entered=done.returncode == 0,
            logins=tuple((entry["method"], entry["outcome"]) for entry in events("login")[told:]),
            outcome=events("session.ended")[-1]["outcome"],
            target=tuple(line for line in lines if DECIDED.match(line)),
        )

    def openssh(
        self,
        number: int,
        *,
        password: str | None = None,
        key: Path | None = None,
        order: str = KEY_FIRST,
        username: str | None = None,
    ) -> Seen:
        options = {
            "UserKnownHostsFile": str(self.known_hosts),
            "StrictHostKeyChecking": "yes",
            "PreferredAuthentications": order,
            "NumberOfPasswordPrompts": "1",
            "BatchMode": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PubkeyAuthentication": "yes" if key else "no",
            "PasswordAuthentication": "yes" if password else "no",
            "KbdInteractiveAuthentication": "yes" if password else "no",
        }
        argv = [
            "sshpass", "-e", "sftp", "-q", "-F", "none", *(f"-o{name}={value}" for name, value in options.items()),
            *(["-i", str(key)] if key else []), "-b", "-", "-P", str(FIRST_PORT + number),
            f"{username or self.username}@127.0.0.1",
        ]  # fmt: skip
        return self.attempt(number, argv, password=password)


@pytest.fixture(scope="module")
def logins(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logins]:
    made = Logins(suite, tmp_path_factory.mktemp("logins"))
    made.configure()
    yield made
    made.remove()


def needs(number: int) -> tuple[bool, bool, bool]:
    """Does the Rule take a password, does it take a key, does it want both?"""
    method = RULES[number][0]
    return "password" in method, "public_key" in method, "_and_" in method


def at_target(number: int, username: str) -> tuple[str, ...]:
    """How the target tells of a login that succeeded."""
    shown = "password" if RULES[number][2] == "passthrough" else "publickey"
    return (f"Accepted {shown} for {username}",)


def audited(order: list[str], last: str) -> tuple[tuple[str, str], ...]:
    return (*((method, "partial") for method in order[:-1]), (order[-1], last))


@pytest.mark.parametrize("order", [KEY_FIRST, PASSWORD_FIRST])
@pytest.mark.parametrize("number", RULES)
def test_what_is_right_gets_in(logins: Logins, number: int, order: str) -> None:
    by_password, by_key, both = needs(number)
    seen = logins.openssh(number, password=logins.password, key=logins.mine, order=order)
    used = [method for method in order.split(",") if (by_password if method == "password" else by_key)]
    assert seen == Seen(
        True, audited(used if both else used[:1], "ok"), "completed", at_target(number, logins.username)
    )


@pytest.mark.parametrize("number", RULES)
def test_a_wrong_password(logins: Logins, number: int) -> None:
    by_password, _, both = needs(number)
    seen = logins.openssh(number, password=WRONG, key=logins.mine if both else None)
    if not by_password:
        assert seen == Seen(False, (), "partner_closed", ()), "nothing that could be judged"
    elif number == 1:
        failed = f"Failed password for {logins.username}"
        assert seen == Seen(False, (("password", "target_denied"),), "target_denied", (failed,))
    else:
        order = ["publickey", "password"] if both else ["password"]
        assert seen == Seen(False, audited(order, "auth_denied"), "auth_denied", ())
    assert WRONG not in logins.suite.logs()


@pytest.mark.parametrize("number", RULES)
def test_a_wrong_key(logins: Logins, number: int) -> None:
    _, by_key, both = needs(number)
    order = PASSWORD_FIRST if both else KEY_FIRST
    seen = logins.openssh(number, password=logins.password if both else None, key=logins.foreign, order=order)
    if not by_key:
        assert seen == Seen(False, (), "partner_closed", ())
    else:
        tried = ["password", "publickey"] if both else ["publickey"]
        assert seen == Seen(False, audited(tried, "auth_denied"), "auth_denied", ())


@pytest.mark.parametrize("number", RULES)
def test_something_is_missing(logins: Logins, number: int) -> None:
    assert logins.openssh(number) == Seen(False, (), "partner_closed", ())
    if needs(number)[2]:
        for shown in ({"password": logins.password}, {"key": logins.mine}):
            seen = logins.openssh(number, **shown)
            assert (seen.entered, seen.outcome, seen.target) == (False, "partner_closed", ())
            assert [outcome for _, outcome in seen.logins] == ["partial"]


@pytest.mark.parametrize("number", RULES)
def test_an_unknown_user(logins: Logins, number: int) -> None:
    by_password, by_key, _ = needs(number)
    seen = logins.openssh(number, password=logins.password, key=logins.mine, username="nobody-known")
    if number == 1:
        assert seen.target == ("Failed password for invalid user nobody-known",)
        assert seen.outcome == "target_denied"
    else:
        tried = [method for method, used in (("publickey", by_key), ("password", by_password)) if used]
        assert seen == Seen(False, tuple((method, "auth_denied") for method in tried), "auth_denied", ())


@pytest.mark.parametrize("number", [1, 2, 3, 6, 7, 8])
def test_openssh_as_it_comes_asks_once_for_one_password(logins: Logins, number: int) -> None:
    """Its own order: keyboard-interactive before password."""
    order = "gssapi-with-mic,hostbased,publickey,keyboard-interactive,password"
    key = logins.mine if needs(number)[2] else None
    seen = logins.openssh(number, password=logins.password, key=key, order=order)
    assert (seen.entered, seen.target) == (True, at_target(number, logins.username))
    assert seen.logins[-1] == ("keyboard-interactive", "ok")
    wrong = logins.openssh(number, password=WRONG, key=key, order=order)
    assert not wrong.entered
    assert [outcome for _, outcome in wrong.logins if outcome != "partial"] == [wrong.outcome]
    assert len(wrong.target) == (1 if number == 1 else 0)


def test_a_new_password_is_in_force_with_the_push_and_the_old_one_is_not(logins: Logins) -> None:
    account = logins.suite.api("GET", "/items/accounts/login")
    fields = {name: account[name] for name in ("name", "account_repository", "username", "public_keys")}
    try:
        logins.suite.api("PUT", "/items/accounts/login", {**fields, "password": "another-Password-1"})
        logins.suite.api("POST", "/servers/usp-server-1/push?wait=10")
        assert logins.openssh(3, password=logins.password).outcome == "auth_denied"
        assert logins.openssh(3, password="another-Password-1").entered
    finally:
        logins.suite.api("PUT", "/items/accounts/login", {**fields, "password": logins.password})
        logins.suite.api("POST", "/servers/usp-server-1/push?wait=10")
    assert logins.openssh(3, password=logins.password).entered


def test_the_password_is_kept_as_a_hash_only(logins: Logins) -> None:
    account = logins.suite.api("GET", "/items/accounts/login")
    assert logins.password not in str(account)
    database = next((logins.suite.dir / "manager").glob("usp.db*"))
    assert logins.password.encode() not in database.read_bytes()


def test_a_certificate_made_with_ssh_keygen(logins: Logins, tmp_path: Path) -> None:
    def keygen(*argv: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *argv], check=True, capture_output=True)

    ca, mine = tmp_path / "ca", tmp_path / "id"
    keygen("-t", "ed25519", "-N", "", "-f", str(ca))
    keygen("-t", "ed25519", "-N", "", "-f", str(mine))
    rule = logins.suite.api("GET", "/items/rules/rule-9")
    fields = {name: rule[name] for name in rule if name not in ("id", "revision", "created_at", "updated_at", "facts")}
    authority = {"name": "login-ca", "public_key": Path(f"{ca}.pub").read_text().strip()}
    logins.suite.api("POST", "/items/public-keys", authority)
    try:
        logins.suite.api("PUT", "/items/rules/rule-9", {**fields, "trusted_ca_keys": ["login-ca"]})
        logins.suite.api("POST", "/servers/usp-server-1/push?wait=10")
        for principal, entered in (("somebody-else", False), (logins.username, True)):
            keygen("-s", str(ca), "-I", "id", "-n", principal, "-V", "+5m", f"{mine}.pub")
            assert logins.openssh(9, key=mine).entered is entered
    finally:
        logins.suite.api("PUT", "/items/rules/rule-9", fields)
        logins.suite.api("DELETE", "/items/public-keys/login-ca")
        logins.suite.api("POST", "/servers/usp-server-1/push?wait=10")


@pytest.mark.parametrize("number", [1, 6, 7, 8, 9])
def test_putty(logins: Logins, number: int, tmp_path: Path) -> None:
    by_password, by_key, both = needs(number)
    ppk = tmp_path / "mine.ppk"
    subprocess.run(["puttygen", str(logins.mine), "-O", "private", "-o", str(ppk)], check=True, capture_output=True)
    (tmp_path / "batch").write_text("pwd\n")
    fingerprint = keys.fingerprint(keys.parse_public(logins.host_key))

    def psftp(password: str) -> Seen:
        argv = [
            "psftp", "-batch", "-P", str(FIRST_PORT + number), "-hostkey", fingerprint, "-l", logins.username,
            *(["-i", str(ppk)] if by_key and (both or not by_password) else []),
            *(["-pw", password] if by_password else []), "-b", str(tmp_path / "batch"), "127.0.0.1",
        ]  # fmt: skip
        return logins.attempt(number, argv, password=None)

    right = psftp(logins.password)
    assert (right.entered, right.target) == (True, at_target(number, logins.username))
    if by_password:
        wrong = psftp(WRONG)
        assert (wrong.entered, len(wrong.target)) == (False, 1 if number == 1 else 0)


@pytest.mark.parametrize("number", [1, 6, 7, 8, 9])
def test_paramiko(logins: Logins, number: int) -> None:
    paramiko = pytest.importorskip("paramiko")
    by_password, by_key, both = needs(number)
    key = paramiko.Ed25519Key.from_private_key_file(str(logins.mine))
    transport = paramiko.Transport(("127.0.0.1", FIRST_PORT + number))
    try:
        transport.start_client(timeout=10)
        left: list[str] = ["publickey", "password"]
        if by_key:
            left = transport.auth_publickey(logins.username, key)
        if both:
            assert sorted(left) == ["keyboard-interactive", "password"]
        if by_password and (both or not by_key):
            left = transport.auth_password(logins.username, logins.password)
        assert left == []
        assert paramiko.SFTPClient.from_transport(transport).listdir(".") is not None
    finally:
        transport.close()
