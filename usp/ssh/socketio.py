"""A socket's bytes in and out, with as few copies as an event loop's transport allows.

`Inlet` reads every socket through one buffer: whoever is given a view of it uses or copies it at once. `Outlet` writes
to the socket itself while nothing waits in the transport: then what is written can be used again, and the event loop
has nothing to remember.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from usp.ssh.readevent import EVENT, HEADROOM, TAILROOM, Passing

_buffer: Final = memoryview(bytearray(256 << 10))
_room: Final = _buffer[HEADROOM:-TAILROOM]


class Inlet(asyncio.BufferedProtocol):
    """Between a transport and `receiver`, a protocol whose `data_received` takes views that are valid during the call.

    >>> loop.create_connection(lambda: Inlet(receiver), host, port)
    """

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self.connection_lost = receiver.connection_lost  # type: ignore[method-assign]
        self.connection_made = receiver.connection_made  # type: ignore[method-assign]
        self.eof_received = receiver.eof_received  # type: ignore[method-assign]
        self.pause_writing = receiver.pause_writing  # type: ignore[method-assign]
        self.resume_writing = receiver.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return _room

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.data_received(_room[:nbytes])


class Intake(Inlet):
    """The same for a receiver who writes all of it on to a channel."""

    def buffer_updated(self, nbytes: int) -> None:
        passing = Passing(_buffer, HEADROOM, nbytes)
        EVENT.read(passing, self._receiver.data_received, passing.data)


class Outlet:
    """Writes to a transport's socket. `fd` < 0: it has none, so all goes to the transport."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        self.fd = -1 if sock is None else sock.fileno()

    def write(self, view: memoryview) -> None:
        sent = 0
        if self.fd >= 0 and not self._transport.get_write_buffer_size() and not self._transport.is_closing():
            try:
                sent = os.write(self.fd, view)
            except OSError:  # EAGAIN; the transport will meet any other error itself
                sent = 0
        if sent < len(view):
            self._transport.write(bytes(view[sent:]))
