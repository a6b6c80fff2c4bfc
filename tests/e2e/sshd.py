"""The demo's target as a test handles it: killed, started again, or copied to another port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.suite import Suite, alive, wait_until
from usp.demo import target


class Sshd:
    """The demo's target, and copies of it on other ports."""

    def __init__(self, suite: Suite) -> None:
        self.config = suite.dir / "etc" / "sshd_config"
        self.pid: int = suite.ready["target"]["pid"]
        etc = self.config.parent
        self._command = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), *target.SSHD_DIRS]))
        self._env = {  # its own environment, sshd overwrites
            **os.environ,
            "LD_PRELOAD": target._nss_wrapper() or "",
            "NSS_WRAPPER_PASSWD": str(etc / "passwd"),
            "NSS_WRAPPER_GROUP": str(etc / "group"),
            "NSS_WRAPPER_SHADOW": str(etc / "shadow"),
        }

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not alive(self.pid), 5, "the target ends")

    @contextmanager
    def copy(self, log: Path, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Another one; on the same port if not said otherwise."""
        text = self.config.read_text()
        if port:
            text = "".join(f"Port {port}\n" if line.startswith("Port ") else f"{line}\n" for line in text.splitlines())
        config = log.with_suffix(".conf")
        config.write_text(text)
        assert self._command, "no sshd here"
        argv = [self._command, "-D", "-e", "-f", str(config)]
        with log.open("wb") as output:
            popen = subprocess.Popen(argv, env=self._env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: "Server listening" in log.read_text(), 5, "the target listens")
            yield popen
        finally:
            popen.kill()
            popen.wait()
