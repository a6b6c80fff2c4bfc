"""The peers to compare with, in front of the same target: whatever is installed. Each ends with its context."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.gateways.gateway import Gateway

Start = Callable[["Target", Path], "tuple[int, list[str]] | None"]


class Target:
    """The demo's sshd, with a user of its own."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self.port, self.username, self.password = port, username, password

    def gateway(self) -> Gateway:
        return Gateway("OpenSSH direct", self.port, self.username, self.password)


@contextmanager
def haproxy(target: Target, scratch: Path) -> Iterator[Gateway | None]:
    """No session break, no encryption of its own: the price of being in between."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if not program:
        yield None
        return
    port = free_port()
    config = scratch / "haproxy.cfg"
    config.write_text(
        f"""\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen target
    bind 127.0.0.1:{port}
    maxconn 2000
    server target 127.0.0.1:{target.port}
"""
    )
    with _process([program, "-db", "-f", str(config)], port, scratch / "haproxy.log") as pid:
        yield Gateway("HAProxy TCP", port, target.username, target.password, {"": (pid,)})


@contextmanager
def rclone(target: Target, scratch: Path) -> Iterator[Gateway | None]:
    """`rclone serve sftp` over an sftp remote: another file server rather than a relay."""
    program = shutil.which("rclone")
    if not program:
        yield None
        return
    port = free_port()
    obscured = subprocess.run(
        [program, "obscure", "-"], input=target.password, capture_output=True, text=True, check=True
    ).stdout.strip()
    remote = (
        f":sftp,host=127.0.0.1,port={target.port},user={target.username},pass={obscured},"
        "shell_type=none,md5sum_command=none,sha1sum_command=none:"
    )
    argv = [
        program, "serve", "sftp", remote, "--config", "/dev/null", "--addr", f"127.0.0.1:{port}",
        "--user", target.username, "--pass", target.password, "--cache-dir", str(scratch / "rclone"),
    ]  # fmt: skip
    with _process(argv, port, scratch / "rclone.log") as pid:
        yield Gateway("rclone serve sftp", port, target.username, target.password, {"": (pid,)})


@contextmanager
def go_relay(program: str, target: Target, scratch: Path, cipher: str) -> Iterator[Gateway | None]:
    """The plainest session break on Go's x/crypto/ssh. It takes `-listen -target -key -cipher`."""
    key = scratch / "go_host_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    port = free_port()
    argv = [
        program, "-listen", f"127.0.0.1:{port}", "-target", f"127.0.0.1:{target.port}",
        "-key", str(key), "-cipher", cipher,
    ]  # fmt: skip
    with _process(argv, port, scratch / "go.log") as pid:
        yield Gateway("Go relay", port, target.username, target.password, {"": (pid,)})


def floor(program: str, cipher: str) -> float | None:
    """CPU s/GiB of a C program that reads, decrypts, encrypts and writes 32 KiB at a time, and does nothing else."""
    mode = {"aes128-gcm@openssh.com": "gcm", "chacha20-poly1305@openssh.com": "chacha"}.get(cipher)
    if mode is None:
        return None
    done = subprocess.run([program, mode, "32768", "2"], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["relay_cpu_s_per_gib"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _process(argv: Sequence[str], port: int, log: Path) -> Iterator[int]:
    with log.open("wb") as output:
        popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_for(popen, port, log)
        yield popen.pid
    finally:
        popen.terminate()
        popen.wait(10)


def _wait_for(popen: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        hopeless = popen.poll() is not None or time.monotonic() > deadline
        assert not hopeless, f"did not start:\n{log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
