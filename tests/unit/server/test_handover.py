"""What is written for the next program, and whether that one would take it. (The whole: test_succession.py, e2e.)"""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest

from tests.unit.server.support import snapshot
from usp.errors import UspError
from usp.plan import Endpoint
from usp.server import handover, ipc
from usp.server.handover import Handed, HeldWorker


def handed(**changes: object) -> Handed:
    values: dict[str, object] = {
        "boot": "b", "started_at": 1.0, "orders": {"l": False}, "drained": False, "listening": (), "management": 0,
        "snapshot": -1, "workers": (),
    }  # fmt: skip
    return Handed.model_validate(values | changes)


def test_nothing_was_handed_over() -> None:
    assert handover.taken({}) is None


def test_what_is_handed_over_is_taken_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        memory = ipc.to_memfd(snapshot(7).to_wire())
        endpoint = Endpoint("127.0.0.1", port)
        told = handed(listening=(handover.listening((endpoint, listening)),), snapshot=memory)
        environ = {handover.VARIABLE: str(ipc.to_memfd(told.model_dump_json().encode()))}
        found = handover.taken(environ)
        assert found == told
        assert handover.taken(environ) is None
        taken = found.taken_snapshot()
        assert taken is not None
        assert taken.version == 7
        ((there, sock),) = found.sockets().items()
        assert (there, sock.getsockname()[1], os.get_inheritable(sock.fileno())) == (endpoint, port, False)
        sock.detach()
    assert handed().taken_snapshot() is None


async def test_a_program_that_accepts_or_refuses() -> None:
    await handover.checked([sys.executable, "-c", "pass"])
    with pytest.raises(UspError, match="the new program refuses: nonsense is not known here"):
        await handover.checked([sys.executable, "-c", "import sys; sys.exit('nonsense is not known here')"])


async def test_a_program_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "CHECK_TIMEOUT", 0.2)
    with pytest.raises(UspError, match="does not answer"):
        await handover.checked([sys.executable, "-c", "import time; time.sleep(60)"])


async def test_quiet_is_awaited_for_a_while() -> None:
    left = [3]

    def fewer() -> int:
        left[0] -= 1
        return left[0]

    await handover.quiet(fewer)
    assert left == [0]
    await handover.quiet(lambda: 1, 0.05)


def test_a_program_that_cannot_be_executed_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as management:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with pytest.raises(OSError, match="nowhere"):
            handover.execute(handed(management=management.fileno()))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        assert not os.get_inheritable(management.fileno())


def test_signals_are_heeded() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, handover.HELD_BACK)
    handover.heed_signals()
    assert not set(handover.HELD_BACK) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_held_worker_survives_the_wire() -> None:
    held = HeldWorker(slot=1, pid=2, fd=3, version=4, sessions={}, links={})
    assert handed(workers=(held,)).workers == (held,)
