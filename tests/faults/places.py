"""Where faults are put: between a client and its server, a server and its target, a manager and a server."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.suite import Restartable, Suite, wait_until
from tests.faults.proxy import FaultProxy

SERVER = "usp-server-1"


def config_of(daemon: Restartable) -> Path:
    return Path(daemon.argv[-1])


@contextmanager
def restarted_with(suite: Suite, daemon: str, **replaced: str) -> Iterator[Restartable]:
    """A daemon whose configuration says something else meanwhile: `old text` -> `new text`."""
    with suite.restartable(daemon) as found:
        file = config_of(found)
        before = file.read_text()
        text = before
        for old, new in replaced.items():
            assert text.count(old) == 1, f"{old} in {text}"
            text = text.replace(old, new)
        try:
            found.kill(signal.SIGTERM)
            file.write_text(text)
            found.start()
            yield found
        finally:
            file.write_text(before)
            found.kill(signal.SIGTERM)
            found.start()


def line_of(text: str, name: str) -> str:
    """The line of a configuration file that begins with a name."""
    (found,) = [line for line in text.splitlines() if line.strip().startswith(f"{name} ")]
    return found


def tunnel_port(suite: Suite) -> int:
    port: int = suite.api("GET", "/items/tunnels/tunnel-1")["port"]
    return port


@contextmanager
def on_the_tunnel(suite: Suite) -> Iterator[FaultProxy]:
    """Between usp-client and usp-server."""
    port = tunnel_port(suite)
    with FaultProxy(port) as proxy:
        with restarted_with(suite, "clients", **{f"port     = {port}": f"port     = {proxy.port}"}):
            suite.wait_for_login(within=15)
            assert proxy.dialled
            yield proxy
        suite.wait_for_login(within=15)


@contextmanager
def on_the_way_to_the_target(suite: Suite) -> Iterator[FaultProxy]:
    """Between usp-server (or usp-client, if its allow list permits) and the target."""
    with FaultProxy(suite.ready["target"]["port"]) as proxy, suite.restored():
        configure(suite, "outbound-nodes/target", port=proxy.port)
        assert suite.sftp("pwd\n").returncode == 0
        assert proxy.dialled
        yield proxy


@contextmanager
def on_the_way_to_the_server(suite: Suite) -> Iterator[FaultProxy]:
    """Between usp-manager and usp-server."""
    item = f"proxy-servers/{SERVER}"
    before = suite.api("GET", f"/items/{item}")
    with FaultProxy(before["port"]) as proxy:
        change(suite, item, port=proxy.port)
        try:
            wait_until(lambda: proxy.dialled > 0 and status(suite)["state"] == "running", 15, "it goes through")
            yield proxy
        finally:
            change(suite, item, port=before["port"])


def change(suite: Suite, item: str, **fields: Any) -> None:
    suite.api("PUT", f"/items/{item}", {**suite.api("GET", f"/items/{item}"), **fields})


def configure(suite: Suite, item: str, **fields: Any) -> None:
    """Changed, and in force."""
    change(suite, item, **fields)
    suite.api("POST", f"/servers/{SERVER}/push?wait=10")


def status(suite: Suite, server: str = SERVER) -> dict[str, Any]:
    found: dict[str, Any] = suite.api("GET", f"/servers/{server}")
    return found


def banner(port: int) -> bytes:
    """What a load balancer's check sees."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        try:
            return sock.recv(100)
        except ConnectionError:
            return b""


class Outcomes:
    """How sessions ended since it was made."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        time.sleep(0.2)  # what ended before is written within 50 ms
        self._before = len(suite.audit("session.ended"))

    def facts(self) -> list[dict[str, Any]]:
        return self._suite.audit("session.ended")[self._before :]

    def count(self) -> Counter[str]:
        return Counter(str(fact["outcome"]) for fact in self.facts())

    def wait_for(self, outcome: str, times: int, within: float) -> float:
        """Seconds until so many ended like that."""
        try:
            return wait_until(lambda: self.count()[outcome] >= times, within, f"{times} end with {outcome}")
        except AssertionError as error:
            raise AssertionError(f"{error}; but {self.count()}") from None
