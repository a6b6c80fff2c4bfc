"""One listener per Rule, in a running suite, with Accounts and keys; and what is seen of each attempt to log in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from tests.e2e.partners import Door, Offer, in_asyncssh
from tests.e2e.suite import Suite, wait_until
from usp.ssh import keys

RULES = {
    1: ("password", "none", "passthrough"),
    2: ("password", "account_repository", "passthrough"),
    3: ("password", "account_repository", "dedicated"),
    6: ("password_and_public_key", "account_repository", "dedicated"),
    7: ("password_and_public_key", "account_repository", "passthrough"),
    8: ("password_or_public_key", "account_repository", "dedicated"),
    9: ("public_key", "account_repository", "dedicated"),
}
FIRST_PORT = 50
SERVER = "/servers/usp-server-1"
DECIDED = re.compile(r"(Accepted|Failed) (password|publickey|keyboard-interactive/\S+) for ")
KEYS = ("mine", "foreign", "disabled")
ACCOUNTS = ("partner", "switched-off", "barred")
"""The first one has the user name and the password of the target's user, the second is disabled."""


@dataclass(frozen=True)
class Seen:
    """What came of one attempt. `logins`: method and outcome of each event; `target`: what its sshd wrote of logins."""

    entered: bool
    logins: tuple[tuple[str, str], ...]
    outcome: str
    target: tuple[str, ...]


class Site:
    def __init__(self, suite: Suite, directory: Path) -> None:
        self.suite = suite
        self.username: str = suite.ready["listeners"]["passthrough"]["username"]
        self.password: str = suite.ready["listeners"]["passthrough"]["password"]
        self.keys = {name: directory / name for name in KEYS}
        self.public = {name: self._generate(path) for name, path in self.keys.items()}
        host_key = Path(suite.ready["partner"]["known_hosts"]).read_text().split(maxsplit=1)[1].splitlines()[0]
        known_hosts = directory / "known_hosts"
        self.doors = {number: Door(suite.port(FIRST_PORT + number), host_key, known_hosts) for number in RULES}
        known_hosts.write_text("".join(f"[127.0.0.1]:{door.port} {host_key}\n" for door in self.doors.values()))
        self._strangers = (f"127.0.4.{number % 250 + 1}" for number in count())

    @staticmethod
    def _generate(path: Path) -> str:
        private, public = keys.generate()
        path.touch(mode=0o600)
        path.write_text(private.reveal())
        return public

    def stranger(self) -> str:
        """An address that is not exempt from penalties, and that has not failed lately."""
        return next(self._strangers)

    def configure(self) -> None:
        for name in ("mine", "disabled"):
            self._make("public-keys", f"login-{name}", public_key=self.public[name], enabled=name != "disabled")
        self._make("account-repositories", "logins")
        account = {
            "account_repository": "logins",
            "password": PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(self.password),  # many logins
            "public_keys": ["login-mine", "login-disabled"],
        }
        for name in ACCOUNTS:
            username = self.username if name == "partner" else name
            self._make("accounts", f"login-{name}", username=username, enabled=name != "switched-off", **account)
        for number in RULES:
            self._listen(number)
        self.push()

    def _listen(self, number: int) -> None:
        name, (method, source, outbound) = f"rule-{number}", RULES[number]
        more: dict[str, Any] = {} if source == "none" else {"account_repository": "logins"}
        if outbound == "dedicated":
            more |= {"username": self.username, "private_key": "gateway"}
        self._make("rules", name, inbound_method=method, inbound_source=source, outbound_credentials=outbound, **more)
        self._make("inbound-nodes", name, ip_filter="everybody", host_keys=["host-key"], rule=name)
        self._make("routes", name, inbound_nodes=[name], outbound_nodes=["target"])
        port = self.doors[number].port
        self._make("listeners", name, address="127.0.0.1", port=port, route=name, default_outbound_node="target")
        path = {"tunnel": "tunnel-1", "proxy_client": "usp-client-1"}
        self._make("deployments", name, listener=name, proxy_server="usp-server-1", **path)

    def bar(self, username: str) -> None:
        """Put a user name under a penalty, by wrong passwords from ever other addresses, unless it is."""
        while not self._is_barred(username):
            in_asyncssh(self.doors[3], Offer(username, "wrong", source=self.stranger()))

    def _is_barred(self, username: str) -> bool:
        found = self.suite.api("GET", f"{SERVER}/penalties")["items"]
        return f"username:{username}" in [each["key"] for each in found]

    def release(self) -> None:
        for penalty in self.suite.api("GET", f"{SERVER}/penalties")["items"]:
            self.suite.api("DELETE", f"{SERVER}/penalties/{penalty['key']}")

    def push(self) -> None:
        self.suite.api("POST", f"{SERVER}/push?wait=10")

    def _make(self, kind: str, name: str, **fields: Any) -> None:
        self.suite.api("POST", f"/items/{kind}", {"name": name, **fields})

    def attempt(self, number: int, log_in: Callable[[Door, Offer], bool], offer: Offer) -> Seen:
        """One login at the Rule's listener, and what server and target tell of it once it is over."""
        log, listener = self.suite.dir / "log" / "target.log", f"rule-{number}"

        def events(event: str) -> list[dict[str, Any]]:
            return [entry for entry in self.suite.audit(event) if entry["listener"] == listener]

        ended, told, read = len(events("session.ended")), len(events("login")), len(log.read_text())
        entered = log_in(self.doors[number], offer)
        wait_until(lambda: len(events("session.ended")) == ended + 1, 5, "one session ends")
        lines = [line.split(" from ")[0] for line in log.read_text()[read:].splitlines()]
        return Seen(
            entered=entered,
            logins=tuple((entry["method"], entry["outcome"]) for entry in events("login")[told:]),
            outcome=events("session.ended")[-1]["outcome"],
            target=tuple(line for line in lines if DECIDED.match(line)),
        )
