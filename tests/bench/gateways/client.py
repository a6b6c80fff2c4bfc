"""Partners: OpenSSH's own sftp, and raw SFTP over OpenSSH's ssh, which adds next to nothing to a round trip."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from tests.bench.gateways.gateway import Gateway

OPTIONS: Final = (
    "-F", "none",
    "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null",
    "-o", "LogLevel=ERROR",
    "-o", "PreferredAuthentications=password",
    "-o", "NumberOfPasswordPrompts=1",
)  # fmt: skip

_INIT: Final = struct.pack(">IBI", 5, 1, 3)
_STAT: Final = 17


def sftp(gateway: Gateway, batch: str, cipher: str, *options: str) -> float:
    """Run these commands with requests of 32 KiB; seconds from start to end, login included."""
    argv = [
        "sshpass", "-e", "sftp", *OPTIONS, "-c", cipher, "-B", "32768", "-o", "BatchMode=no", "-b", "-", *options,
        "-P", str(gateway.port), f"{gateway.username}@127.0.0.1",
    ]  # fmt: skip
    begin = time.perf_counter()
    done = subprocess.run(argv, input=batch, env=_env(gateway), capture_output=True, text=True, check=False)
    took = time.perf_counter() - begin
    if done.returncode:
        raise TransferError(f"{gateway.name}: {done.stderr.strip()}")
    return took


class TransferError(Exception):
    """It did not work. The text says with whom, and why."""


class RawSftp:
    """One request at a time over a pipe to `ssh -s sftp`."""

    def __init__(self, to: IO[bytes], answers: IO[bytes]) -> None:
        self._to, self._answers = to, answers
        self._ask(_INIT)

    def stat(self, path: str) -> float:
        """Seconds that it took."""
        name = path.encode()
        body = struct.pack(">BII", _STAT, 1, len(name)) + name
        begin = time.perf_counter()
        answer = self._ask(struct.pack(">I", len(body)) + body)
        took = time.perf_counter() - begin
        assert answer[0] == 105, "not ATTRS"
        return took

    def _ask(self, request: bytes) -> bytes:
        self._to.write(request)
        self._to.flush()
        (size,) = struct.unpack(">I", self._answers.read(4))
        return self._answers.read(size)


@contextmanager
def raw_sftp(gateway: Gateway, cipher: str) -> Iterator[RawSftp]:
    argv = [
        "sshpass", "-e", "ssh", *OPTIONS, "-c", cipher, "-p", str(gateway.port), "-s",
        f"{gateway.username}@127.0.0.1", "sftp",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_env(gateway)) as popen:
        assert popen.stdin
        assert popen.stdout
        yield RawSftp(popen.stdin, popen.stdout)
        popen.stdin.close()


def _env(gateway: Gateway) -> dict[str, str]:
    return {**os.environ, "SSHPASS": gateway.password}
