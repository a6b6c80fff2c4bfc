"""The listening sockets, and the accept loop over them.

A socket is bound first (`bind`, which may fail and then changes nothing) and opened for partners later (`open`), so
that a snapshot is applied all or nothing. An IPv6 socket takes IPv6 only: `::` and `0.0.0.0` are two endpoints.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from usp.errors import UspError
from usp.log import get_logger
from usp.plan import Endpoint

log = get_logger(__name__)

BACKLOG: Final = 1024
BATCH: Final = 64  # connections accepted in one go, before others get the loop
LONG: Final = 60.0  # seconds of a pause that was asked for, at the most
PAUSE: Final = 0.2  # seconds without accepting when descriptors or memory have run out
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accepted = Callable[[Endpoint, socket.socket, str, int], None]
"""Called with each connection and its peer's address and port. The connection belongs to the acceptor, which closes it
afterwards: whoever keeps it sends or duplicates its descriptor."""


class Acceptor:
    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._open: dict[Endpoint, socket.socket] = {}
        self._paused: asyncio.TimerHandle | None = None

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        return frozenset(self._open)

    def bind(self, endpoint: Endpoint, yielding: Iterable[Endpoint] = ()) -> socket.socket:
        """A listening socket that nobody accepts from yet, or UspError("listener.unbindable").

        `yielding` are open endpoints that stand in the way and will be closed: with SO_REUSEPORT on both, the new
        socket listens before the old one is gone (socket(7)).
        """
        in_the_way = [self._open[old] for old in yielding]
        sock = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _share(in_the_way, True)
            _share([sock] if in_the_way else [], True)
            sock.bind(endpoint)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            reason = os.strerror(error.errno or 0)
            raise UspError("listener.unbindable", f"{endpoint}: {reason}", endpoint=str(endpoint)) from None
        finally:
            _share(in_the_way, False)
        return sock

    def open(self, endpoint: Endpoint, sock: socket.socket) -> None:
        """Accept from a socket that `bind` made."""
        assert endpoint not in self._open, endpoint
        self._open[endpoint] = sock
        if self._paused is None:
            self._watch(endpoint, sock)

    def pause(self) -> None:
        """Accept nothing for now; new connections wait in the kernel's queue."""
        if self._paused is None:
            loop = asyncio.get_running_loop()
            for sock in self._open.values():
                loop.remove_reader(sock.fileno())
            self._paused = loop.call_later(LONG, self.resume)

    def resume(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
            self._resume()

    @property
    def sockets(self) -> Mapping[Endpoint, socket.socket]:
        return self._open

    def close(self, endpoint: Endpoint) -> None:
        sock = self._open.pop(endpoint, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    def close_all(self) -> None:
        for endpoint in self.endpoints:
            self.close(endpoint)
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None

    def _watch(self, endpoint: Endpoint, sock: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, endpoint, sock)

    def _accept(self, endpoint: Endpoint, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                connection, peer = sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # that connection was gone before it was accepted; see accept(2), "Error handling"
            with connection:
                self._accepted(endpoint, connection, peer[0].partition("%")[0], peer[1])

    def _pause(self, error: OSError) -> None:
        """What is established goes on; new ones wait in the kernel's queue."""
        log.error("accept.paused", reason=os.strerror(error.errno or 0), seconds=PAUSE)
        loop = asyncio.get_running_loop()
        for sock in self._open.values():
            loop.remove_reader(sock.fileno())
        self._paused = loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._paused = None
        for endpoint, sock in self._open.items():
            self._watch(endpoint, sock)


def _share(socks: Iterable[socket.socket], on: bool) -> None:
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, on)
