"""In a process of its own: what is given up is gone for good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from usp import hardening, landlock

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


CONFINED = """
import socket, sys, zoneinfo
from usp import hardening
said = hardening.confine(sys.argv[1] + "/log/worker.log", alone=True)
assert not said, said
import xml.dom.minidom  # what is imported later
zoneinfo.ZoneInfo("Europe/Vienna")
socket.getaddrinfo("localhost", 22)
open(sys.argv[1] + "/log/worker.log", "a").write("a line")
for path in (sys.argv[1] + "/key", "/proc/self/environ"):
    try:
        open(path)
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_worker_keeps_what_it_needs_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "key").write_text("secret")
    command = [sys.executable, "-c", CONFINED, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["refused", "refused"], done.stderr
    assert (tmp_path / "log" / "worker.log").read_text() == "a line"


def test_a_kernel_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_CREATE_RULESET", 100_000)  # no such system call: an older kernel
    assert landlock.abi() == 0
    assert hardening.confine("", alone=True) == "Function not implemented"
