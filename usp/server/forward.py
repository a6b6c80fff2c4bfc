"""A partner's socket and a connection through a tunnel link, joined: what `splice` is for two sockets, with buffers,
because the link's bytes are encrypted here.

Neither side is read while the other cannot take more: the channel's window bounds what comes from the link, and the
partner's socket is not read while the window or the link's own socket is full.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import asyncssh

from usp.server.splice import Over, Side, at_once, close
from usp.server.throttle import Throttle
from usp.ssh.connect import Congestion
from usp.ssh.readevent import EVENT, HEADROOM, TAILROOM, Passing
from usp.ssh.sending import write

_scratch: Final = memoryview(bytearray(256 << 10))
"""What was just read from a partner; it is copied or encrypted before anybody else reads."""
_room: Final = _scratch[HEADROOM:-TAILROOM]


class Forward(asyncssh.SSHTCPSession[bytes]):
    """`bytes_in` came from the partner, `bytes_out` from the target; `first`: whose sending ended first.

    `heard` is called when the partner sends its first byte. `header` goes to the target before anything of it.
    """

    takes_views = True

    def __init__(
        self,
        partner: socket.socket,
        congestion: Congestion,
        over: Over,
        heard: Callable[[], None] = lambda: None,
        header: bytes = b"",
        throttle: Throttle | None = None,
        limits: tuple[str, str] = ("", ""),
    ) -> None:
        """`limits`: keys of what bounds its upload and its download."""
        self._header = header
        self._heard = heard
        self._partner = partner
        self._congestion = congestion
        self._over: Over | None = over
        self._loop = asyncio.get_running_loop()
        self.last_active = self._loop.time()
        self.first: Side | None = None
        self.bytes_in = self.bytes_out = 0
        self._channel: Any = None
        self._late = bytearray()  # for the partner, who does not read as fast
        self._stopped_by: set[str] = {"start"}  # why the partner is not read
        self._partner_ended = self._target_ended = False
        throttle, (upload, download) = throttle or Throttle(self._loop), limits
        self._upload = throttle.flow((upload,), lambda held: self._read_partner("bandwidth", stop=held))
        self._download = throttle.flow((download,), lambda held: self._read_target())

    @property
    def held(self) -> bool:
        """A limit of bandwidth does not let it read."""
        return self._upload.held or self._download.held

    def start(self) -> None:
        at_once(self._partner)
        self._congestion.watch(self._link_full)
        self._read_partner("start", stop=False)

    def close(self, *, reset: bool = False) -> None:
        """Let go of both. `reset`: they must not take it for the end of what was sent."""
        self._over = None
        self._stop()
        if self._channel is not None:
            if reset:
                self._channel.abort()
            else:
                self._channel.close()
        close(self._partner, reset=reset)

    # the partner's side

    def _readable(self) -> None:
        self.last_active = self._loop.time()
        try:
            count = self._partner.recv_into(_room, self._upload.room(len(_room)) if self._upload.queues else 0)
        except BlockingIOError:
            return
        except OSError as error:
            self._tell(Side.PARTNER, error)
            return
        if self._channel is None or self._channel.is_closing():
            return  # its end is on the way
        if count:
            if not self.bytes_in:
                self._heard()
            self.bytes_in += count
            if self._upload.queues:
                self._upload.passed(count)
            passing = Passing(_scratch, HEADROOM, count)
            EVENT.read(passing, write, self._channel, passing.data)
        else:
            self._partner_ended = True
            self._loop.remove_reader(self._partner.fileno())
            self._channel.write_eof()
            self._ended(Side.PARTNER)

    def _writable(self) -> None:
        self.last_active = self._loop.time()
        sent = self._send(self._late)
        del self._late[:sent]
        if not self._late and self._over is not None:
            self._loop.remove_writer(self._partner.fileno())
            if self._target_ended:
                self._pass_end_on()
            else:
                self._read_target()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            sent = self._partner.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._tell(Side.PARTNER, error)
            return 0
        self.bytes_out += sent
        return sent

    def _pass_end_on(self) -> None:
        try:
            self._partner.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._tell(Side.PARTNER, error)
        else:
            self._ended(Side.TARGET)

    # the target's side (called by asyncssh)

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        chan.write(self._header)
        if self._over is None:  # it was given up meanwhile
            self._loop.call_soon(chan.abort)

    def data_received(self, data: bytes | memoryview, datatype: int | None = None) -> None:
        self.last_active = self._loop.time()
        if self._over is None:
            return
        if self._download.queues:
            self._download.passed(len(data))
        sent = 0 if self._late else self._send(data)
        if sent < len(data) and self._over is not None:
            if not self._late:
                self._loop.add_writer(self._partner.fileno(), self._writable)
            self._late += data[sent:]
            self._read_target()

    def eof_received(self) -> bool:
        self._target_ended = True
        if not self._late and self._over is not None:
            self._pass_end_on()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        if not (self._partner_ended and self._target_ended):
            self._tell(Side.TARGET, OSError(str(exc)) if exc else None)

    def pause_writing(self) -> None:
        self._read_partner("window", stop=True)

    def resume_writing(self) -> None:
        self._read_partner("window", stop=False)

    # both

    def _link_full(self, full: bool) -> None:
        self._read_partner("link", stop=full)

    def _read_partner(self, why: str, *, stop: bool) -> None:
        was = bool(self._stopped_by)
        (self._stopped_by.add if stop else self._stopped_by.discard)(why)
        if self._over is None or self._partner_ended or was == bool(self._stopped_by):
            return
        if stop:
            self._loop.remove_reader(self._partner.fileno())
        else:
            self._loop.add_reader(self._partner.fileno(), self._readable)

    def _read_target(self) -> None:
        """Unless the partner is slow, or a limit of bandwidth is used up."""
        if self._channel is None or self._over is None:
            return
        if self._late or self._download.held:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def _ended(self, side: Side) -> None:
        if self.first is None:
            self.first = side
        else:
            self._tell(None, None)

    def _stop(self) -> None:
        self._upload.close()
        self._download.close()
        self._congestion.unwatch(self._link_full)
        if self._partner.fileno() >= 0:
            self._loop.remove_reader(self._partner.fileno())
            self._loop.remove_writer(self._partner.fileno())

    def _tell(self, side: Side | None, error: OSError | None) -> None:
        if self._over is not None:
            over, self._over = self._over, None
            self._stop()
            over(side, error)
