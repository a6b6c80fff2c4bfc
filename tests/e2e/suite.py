"""The suite under test: usp-demo as a process, and OpenSSH's own sftp as the partner.

With USP_TEST_FAST_PATH=off all daemons relay on asyncssh's own way; `make e2e` runs all tests both ways.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import ports

ROOT = Path(__file__).resolve().parents[2]
FAST_PATH = {"on": "true", "off": "false"}[os.environ.get("USP_TEST_FAST_PATH", "on")]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "USP_SERVER__FAST_PATH": FAST_PATH, "USP_FAST_PATH": FAST_PATH}
"""Of every daemon: the first name is usp-server's, the second usp-client's."""
UP_SECONDS = 60.0


class Suite:
    """A running usp-demo. `ready` is its ready file (interfaces.md)."""

    def __init__(self, popen: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.popen = popen
        self.ready = ready
        self.mended: list[Restartable] = []

    @property
    def dir(self) -> Path:
        return Path(self.ready["dir"])

    def port(self, number: int = 0) -> int:
        """One of the suite's hundred: the first server has the first three (`partners`, `passthrough`, `tcp`), the next
        one those from 10 on, and so on; from 40 on they are a test's own."""
        first: int = self.ready["partner"]["port"]
        return first + number

    @property
    def files(self) -> Path:
        """Where the target keeps what partners upload."""
        return Path(self.ready["target"]["root"])

    def audit(self, event: str | None = None, server: int = 0) -> list[dict[str, Any]]:
        """Those that are whole: the last one may be half written."""
        text = Path(self.ready["servers"][server]["audit"]).read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [entry for entry in map(json.loads, lines) if event in (None, entry["event"])]

    def logs(self) -> str:
        """Everything that the daemons wrote, audit included."""
        return "".join(file.read_text(errors="replace") for file in sorted((self.dir / "log").iterdir()))

    def ssh_options(self) -> list[str]:
        return [
            "-F", "none",
            "-o", f"UserKnownHostsFile={self.ready['partner']['known_hosts']}",
            "-o", "StrictHostKeyChecking=yes",
            "-o", "PreferredAuthentications=password",
            "-o", "NumberOfPasswordPrompts=1",
            "-o", "BatchMode=no",  # sftp's -b would switch passwords off
        ]  # fmt: skip

    def sftp_argv(self, *options: str, port: int | None = None) -> list[str]:
        partner = self.ready["partner"]
        return [
            "sshpass", "-e", "sftp", *self.ssh_options(), *options, "-b", "-",
            "-P", str(port or partner["port"]), f"{partner['username']}@{partner['host']}",
        ]  # fmt: skip

    def sftp(
        self, batch: str, *options: str, password: str | None = None, port: int | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run OpenSSH's sftp with these commands, as the partner."""
        return subprocess.run(
            self.sftp_argv(*options, port=port),
            input=batch,
            env={**os.environ, "SSHPASS": password or self.ready["partner"]["password"]},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start_sftp(self, batch: str, *options: str) -> subprocess.Popen[str]:
        """The same in the background."""
        popen = subprocess.Popen(
            self.sftp_argv(*options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SSHPASS": self.ready["partner"]["password"]},
            text=True,
        )
        assert popen.stdin
        popen.stdin.write(batch)
        popen.stdin.close()
        popen.stdin = None
        return popen

    def ssh(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        partner = self.ready["partner"]
        return subprocess.run(
            ["sshpass", "-e", "ssh", *self.ssh_options(), *options, "-p", str(partner["port"]),
             f"{partner['username']}@{partner['host']}", *command],
            env={**os.environ, "SSHPASS": partner["password"]},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def api(self, method: str, path: str, body: object = None, *, manager: int = 0) -> Any:
        """Ask a manager's REST API. Raises urllib's HTTPError for 400 and above."""
        import ssl
        import urllib.request

        admin = self.ready["admin"]
        request = urllib.request.Request(
            f"{self.ready['managers'][manager]['url']}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {admin['token']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=admin["ca"])) as response:
            text = response.read()
        return json.loads(text) if text else None

    def pids(self) -> list[int]:
        """The target, and the daemons as they are now."""
        daemons = [each["pid"] for kind in ("servers", "clients", "managers") for each in self.ready[kind]]
        return [*daemons, *([self.ready["target"]["pid"]] if "pid" in self.ready["target"] else [])]

    def workers(self) -> list[int]:
        """Of the first server, as they are now."""
        pid = self.ready["servers"][0]["pid"]
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """At the end, everything is configured as it was."""
        passphrase = {"passphrase": "a passphrase of some length"}
        before = self.api("POST", "/export", passphrase)
        try:
            yield
        finally:
            self.api("POST", "/apply?prune=true", before | passphrase)
            for server in self.ready["servers"]:
                self.api("POST", f"/servers/{server['name']}/push?wait=10")

    @contextmanager
    def restartable(self, daemon: str, number: int = 0) -> Iterator[Restartable]:
        """One of the `servers`, `clients` or `managers`, to be killed and started again; at the end it runs."""
        found = Restartable(self.ready[daemon][number])
        self.mended.append(found)
        try:
            yield found
        finally:
            if not alive(found.pid):
                found.start()

    def wait_for_login(self, within: float) -> float:
        """Log in again and again until it works; seconds that it took. Fails after `within` seconds."""
        started = time.monotonic()
        while True:
            done = self.sftp("pwd\n", timeout=within + 20)
            took = time.monotonic() - started
            if done.returncode == 0:
                assert took <= within, f"login worked only after {took:.1f} s"
                return took
            assert took <= within, f"no login within {within} s: {done.stderr}"
            time.sleep(0.05)


class Restartable:
    """A daemon of the demo that a test kills and starts again, with its own command line."""

    def __init__(self, about: dict[str, Any]) -> None:
        """`about`: what the ready file says of it; its pid stays true."""
        self._about = about
        self.argv = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        found: int = self._about["pid"]
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)
        wait_until(lambda: not alive(self.pid), 15, f"process {self.pid} ends")

    def start(self) -> None:
        """Once it is dead."""
        if self._popen:
            self._popen.wait(20)
        with open(self._about["log"], "ab") as log:
            self._popen = subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENV, cwd=ROOT
            )
        self._about["pid"] = self._popen.pid

    def close(self) -> None:
        if self._popen and self._popen.poll() is None:
            self._popen.terminate()
            self._popen.wait(45)  # it may be draining: 30 s by default


@contextmanager
def running(
    *flags: str, port_base: int = 0, env: dict[str, str] | None = None, release: Path = ROOT
) -> Iterator[Suite]:
    """Start usp-demo on ports that nothing else uses, wait for its ready file, and stop it at the end; it must leave no
    process behind. `release`: the folder with the package."""
    with tempfile.TemporaryDirectory(prefix="usp-e2e-") as directory:
        ready_file = Path(directory) / "ready.json"
        argv = [
            sys.executable, "-m", "usp.demo.main", "--dir", f"{directory}/demo", "--ready-file", str(ready_file),
            "--port-base", str(port_base or ports.port_base()), *flags,
        ]  # fmt: skip
        with (Path(directory) / "demo.log").open("w+") as output:
            found = {**ENV, "PYTHONPATH": str(release), **(env or {})}
            popen = subprocess.Popen(argv, stdout=output, stderr=output, env=found, text=True, cwd=release)
            try:
                started = time.monotonic()
                while not ready_file.exists():
                    hopeless = popen.poll() is not None or time.monotonic() - started > UP_SECONDS
                    assert not hopeless, _story(Path(directory), shlex.join(argv))
                    time.sleep(0.05)
                suite = Suite(popen, json.loads(ready_file.read_text()))
                try:
                    yield suite
                finally:
                    for daemon in reversed(suite.mended):
                        daemon.close()
            finally:
                if popen.poll() is None:
                    popen.send_signal(signal.SIGINT)
                try:
                    popen.wait(30)
                except subprocess.TimeoutExpired:
                    popen.kill()
                    popen.wait()
                    raise


def _story(directory: Path, command: str) -> str:
    files = [directory / "demo.log", *sorted((directory / "demo" / "log").glob("*"))]
    parts = [f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files if file.exists()]
    return "\n".join([f"{command} did not come up", *parts])


def alive(pid: int) -> bool:
    """A zombie counts as dead: its parent has just not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], within: float, what: str) -> float:
    """Wait; seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"not within {within} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def random_file(path: Path, size: int) -> str:
    """Write a file that does not compress; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            block = os.urandom(min(1 << 20, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
