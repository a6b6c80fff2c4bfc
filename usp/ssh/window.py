"""A channel's window is what it may hold, whatever a slow reader and a fast peer do.

asyncssh grants the whole window anew as soon as it hands on one piece of what waits for the reader: a reader that takes
a little now and then (a slow target) makes it hold more and more. And it keeps every packet as an object of its own: a
window of single bytes would cost a hundred times its size. And it grants nothing for what it drops because the channel
is closing: two ends that close while each has more to say than the other's window takes would wait for each other for
ever. Channels of our connections grant only what has been handed on or dropped, and keep what waits in pieces of a
decent size.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from asyncssh import connection as _connection
from asyncssh.channel import SSHChannel
from asyncssh.packet import UInt32

WINDOW_ADJUST: Final = 93
PIECE: Final = 64 << 10
"""Up to this size what waits is put together."""

if TYPE_CHECKING:
    _Base = _connection.SSHConnection
else:
    _Base = object


def _accept_data(self: SSHChannel[bytes], data: bytes, datatype: int | None = None) -> None:
    waiting: Any = self._recv_buf
    if self._send_state == "close_pending":
        self._recv_window -= len(data)
        _grant(self)
        return
    if self._recv_paused and waiting and self._send_state not in ("close_pending", "closed"):
        last, kind = waiting[-1]
        if kind == datatype and len(last) + len(data) <= PIECE:
            self._recv_window -= len(data)
            if isinstance(last, bytes):
                waiting[-1] = bytearray(last + data), datatype
            else:
                last += data
            return
    SSHChannel._accept_data(self, data, datatype)


def _deliver_data(self: SSHChannel[bytes], data: bytes, datatype: int | None) -> None:
    """Of data that was taken off the queue just now. `datatype`: None, or that of stderr."""
    _grant(self)
    if self._session is not None:
        self._session.data_received(data, datatype)


def _close(self: SSHChannel[bytes]) -> None:
    SSHChannel.close(self)
    if self._send_state == "close_pending":  # there is something to be sent first
        _grant(self)


def _grant(self: SSHChannel[bytes]) -> None:
    """The window anew, but for what waits for the reader."""
    window = self._recv_window + sum(len(piece) for piece, _ in self._recv_buf)
    if window < self._init_recv_window / 2:
        self.send_packet(WINDOW_ADJUST, UInt32(self._init_recv_window - window))
        self._recv_window += self._init_recv_window - window


@cache
def _bounded(kind: Any) -> Any:
    methods = {"_accept_data": _accept_data, "_deliver_data": _deliver_data, "close": _close, "__slots__": ()}
    return type(kind.__name__, (kind,), methods)


class Windows(_Base):
    """Mixed in front of SSHClientConnection or SSHServerConnection, which make their channels themselves."""

    def add_channel(self, chan: SSHChannel[bytes]) -> int:  # type: ignore[override]
        kind: Any = type(chan)
        chan.__class__ = _bounded(kind)
        return super().add_channel(chan)
