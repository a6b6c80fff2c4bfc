"""`usp` as a process, against a suite's first manager."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error

from tests.e2e.suite import ENV, Suite, wait_until


def usp(suite: Suite, *arguments: str, code: int = 0) -> str:
    """What it prints; it must exit with that code."""
    admin = suite.ready["admin"]
    env = {
        **os.environ,
        **ENV,
        "USP_URL": suite.ready["managers"][0]["url"],
        "USP_TOKEN": admin["token"],
        "USP_CA": admin["ca"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "usp.cli.main", *arguments],
        env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"usp {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def await_manager(suite: Suite) -> None:
    def answers() -> bool:
        try:
            suite.api("GET", "/servers")
        except urllib.error.URLError:
            return False
        return True

    wait_until(answers, 15, "the manager answers")
