"""In processes of their own: what was given up does not come back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from usp import landlock

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")

PROGRAM = """
import os, socket, subprocess, sys, threading
from usp import landlock

def tried(what, action):
    try:
        action()
        print(what, "yes")
    except OSError as error:
        print(what, type(error).__name__)

folder = sys.argv[1]
held = open(f"{folder}/secret")
readable = [f"{folder}/read", f"{folder}/one", f"{folder}/missing"]
landlock.restrict(readable, [f"{folder}/log"], alone=sys.argv[3] == "alone")

def bind():
    socket.socket().bind(("127.0.0.1", 0))

def connect():
    socket.socket().connect(("127.0.0.1", int(sys.argv[2])))

def all():
    tried("held", held.read)
    tried("secret", lambda: open(f"{folder}/secret"))
    tried("read", lambda: open(f"{folder}/read/file"))
    tried("one", lambda: open(f"{folder}/one"))
    tried("list", lambda: os.listdir(folder))
    tried("write", lambda: open(f"{folder}/read/file", "a"))
    tried("append", lambda: open(f"{folder}/log/new", "a").write("x"))
    tried("reread", lambda: open(f"{folder}/log/new"))
    tried("remove", lambda: os.unlink(f"{folder}/log/old"))
    tried("rename", lambda: os.rename(f"{folder}/log/new", f"{folder}/log/rotated"))
    tried("mkdir", lambda: os.mkdir(f"{folder}/log/sub"))
    tried("execute", lambda: subprocess.run([f"{folder}/read/program"]))
    tried("connect", connect)
    if landlock.abi() >= 4:
        tried("bind", bind)
    if landlock.abi() >= 6:
        tried("signal", lambda: os.kill(os.getppid(), 0))

thread = threading.Thread(target=all)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("how", ["alone", "with others"])
def test_what_was_not_named_is_gone_for_threads_that_come_later_too(tmp_path: Path, how: str) -> None:
    for name in ("read", "log"):
        (tmp_path / name).mkdir()
    for name in ("secret", "one", "read/file", "log/old"):
        (tmp_path / name).write_text(name)
    program = tmp_path / "read" / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(server.getsockname()[1]), how],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=False,
        )
    told = dict(line.split() for line in done.stdout.splitlines())
    allowed = {name for name, answer in told.items() if answer == "yes"}
    others = {"bind", "signal"} if how != "alone" else set()
    expected = {"held", "read", "one", "append", "remove", "rename", "connect"} | (others & told.keys())
    assert allowed == expected, done.stdout + done.stderr
    assert set(told.values()) == {"yes", "PermissionError"}
    assert len(told) >= 10
    assert (tmp_path / "log" / "rotated").read_text() == "x"


def test_no_kernel_knows_more_than_it_says() -> None:
    """Rights of a newer ABI are not asked for."""
    assert landlock._known(landlock._FILES, 1) == (1 << 13) - 1
    assert landlock._known(landlock._FILES, 5) == (1 << 16) - 1
    assert (landlock._known(landlock._NET, 3), landlock._known(landlock._NET, 4)) == (0, 1)
