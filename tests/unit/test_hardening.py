"""In a process of its own: what is given up is gone for good."""

from __future__ import annotations

import os
import subprocess
import sys

from usp import hardening

PROGRAM = """
import ctypes, os, resource, signal, subprocess, sys
from usp import hardening
hardening.give_up()
libc = ctypes.CDLL(None)
print(resource.getrlimit(resource.RLIMIT_CORE), libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0))
sys.stdout.flush()
subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"])
os.kill(os.getpid(), signal.SIGABRT)
"""


def test_no_core_no_looking_in_no_privileges_and_children_neither(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["(0, 0) 0 1", "1"], done.stderr
    assert done.returncode == -6
    assert os.listdir(str(tmp_path)) == []


def test_what_the_kernel_refuses_is_a_number() -> None:
    assert hardening.prctl(-1, 0) != 0
