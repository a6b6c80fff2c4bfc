"""The scorecard names tests that exist, and its page is what its rows and figures give; the fault proxy does what it
says."""

from __future__ import annotations

import ast
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.faults import page
from tests.faults.defects import DEFECTS
from tests.faults.proxy import FaultProxy, Trip, deaf_port
from tests.faults.scorecard import ROWS


def functions(file: str) -> set[str]:
    tree = ast.parse((page.ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = [test for row in ROWS for test in row.tests] + [defect.test for defect in DEFECTS]
    for test in named:
        file, _, function = test.partition("::")
        assert (page.ROOT / file).exists(), test
        assert not function or function in functions(file), test
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_is_current() -> None:
    assert page.PAGE.read_text() == page.text(), "run: python -m tests.faults --page"


@contextmanager
def echo() -> Iterator[int]:
    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    def answer(sock: socket.socket) -> None:
        with suppress(OSError), sock:
            while data := sock.recv(65536):
                sock.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with echo() as port, FaultProxy(port) as made:
        yield made


def connected(proxy: FaultProxy) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), 5)
    sock.settimeout(0.3)
    return sock


def said(proxy: FaultProxy) -> bytes:
    with connected(proxy) as sock:
        return sock.recv(10)


def test_it_passes_delays_and_swallows(proxy: FaultProxy) -> None:
    with connected(proxy) as sock:
        sock.sendall(b"one")
        assert sock.recv(10) == b"one"
        proxy.delay = 0.1
        sock.sendall(b"two")
        began = time.monotonic()
        assert sock.recv(10) == b"two"
        assert time.monotonic() - began >= 0.2
        proxy.delay = 0
        with proxy.broken():
            sock.sendall(b"three")
            with pytest.raises(TimeoutError):
                sock.recv(10)
            with connected(proxy) as other, pytest.raises(TimeoutError):
                other.recv(10)
        sock.settimeout(5)
        assert sock.recv(10) == b"three", "it comes late, as after a network's outage"


def test_it_resets_refuses_and_cuts(proxy: FaultProxy) -> None:
    with connected(proxy) as sock:
        sock.sendall(b"one")
        assert sock.recv(10) == b"one"
        assert proxy.reset() == 1
        sock.settimeout(5)
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
    proxy.refuse = True
    with pytest.raises(ConnectionResetError):
        said(proxy)
    proxy.refuse = False
    proxy.trip = Trip("back", 4, "hole")
    with connected(proxy) as sock:
        sock.sendall(b"123456")
        assert sock.recv(10) == b"1234", "stuck in the middle"
        with pytest.raises(TimeoutError):
            sock.recv(10)


def test_a_port_where_a_connection_hangs() -> None:
    with deaf_port() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), 0.3)
