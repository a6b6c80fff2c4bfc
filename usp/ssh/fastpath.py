"""The fast path: SSH channel data through asyncssh's connections without asyncssh's cost per packet.

`FastPath` is mixed in front of asyncssh's connection classes (see `usp.ssh.connect`). It takes over, while an AEAD
cipher is in force and nothing is compressed, exactly three packet types (RFC 4254): CHANNEL_DATA, WINDOW_ADJUST, and
IGNORE, which it neither needs nor sends. Everything else (key exchange, login, requests, EOF, close) is handed to
asyncssh's own code, packet by packet, with cipher state and sequence numbers in step.

What makes it fast, in the order of what it is worth: one AEAD object per key instead of one per packet; decryption and
encryption into buffers that are there already; packets taken from what the socket gave without re-slicing it; no IGNORE
packet before every packet; all packets of one read event written with one system call.

How it stays in step
    *Ciphers.* When keys change, asyncssh's cipher shim inside its `Encryption` object is replaced by one of
    `usp.ssh.aead`, which has the same interface. There is one nonce counter, ours, whoever uses it.
    *Receiving.* A packet has to be opened to learn its type. If it turns out to be one for asyncssh, the opened text
    is left with the cipher (`stash`), and asyncssh is given the packet as it arrived: its call to decrypt finds the
    text already there.
    *Sending.* A channel's data goes the fast way only when nothing of that channel waits in asyncssh's queue, no key
    exchange is on, none is due, and the window allows it. Otherwise asyncssh queues it, and its own flush sends it.
    *Falling back.* Any other cipher, or compression, leaves the stock path as it is, at any rekey. `USABLE` is False
    when this asyncssh lacks something that this file relies on; then nothing here is used at all.

Buffers
    `data_received` of a session whose class says `takes_views = True` gets memoryviews that are valid during the call
    only. `write` copies what it is given before it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncssh
from asyncssh import connection as _connection
from asyncssh.channel import SSHChannel

from usp.ssh import aead

DATA: Final = 94
WINDOW_ADJUST: Final = 93
IGNORE: Final = 2

BATCH: Final = 256 << 10
"""Bytes that may wait for the end of the read event before they are written anyway."""

IDLE: Final = 4

SCRATCH: Final = (256 << 10) + 2048
"""Room for one opened packet: asyncssh's largest, and what goes around it."""

HEADROOM: Final = 4 + 10
"""Packet length, and then padding length, type, channel, data length: what stands before a channel packet's data."""

_RELIED_ON: Final = {
    _connection.SSHConnection: (
        "_recv_data", "_recv_pkthdr", "_recv_packet", "_send", "send_packet", "send_newkeys", "_force_close",
        "_reset_keepalive_timer", "_send_disconnect", "internal_error", "data_received",
    ),
    SSHChannel: ("_accept_data", "_flush_send_buf", "write", "_process_window_adjust"),
}  # fmt: skip

USABLE: Final = aead.USABLE and all(
    callable(getattr(owner, name, None)) for owner, names in _RELIED_ON.items() for name in names
)

_scratch: list[bytearray] = []
"""Idle buffers for opened packets. A connection inside a tunnel link is fed while the link's own is in use."""

_idle: list[bytearray] = []
"""Idle batches; a few are enough, because a batch is in use during one read event only."""

_PADDING: Final = os.urandom(64)
"""RFC 4253, section 6, wants random padding because of ciphers whose blocks leak; an AEAD does not care."""

_HEAD: Final = Struct(">BBII")  # padding length, type, channel, data length or window
_PACKET: Final = Struct(">IBBII")  # the same behind the packet's length

Bytes: TypeAlias = bytes | bytearray | memoryview

if TYPE_CHECKING:
    _Base = _connection.SSHConnection
else:
    _Base = object


class Batches:
    """Which connections have packets waiting, and whether a read event is being worked on."""

    def __init__(self) -> None:
        self.depth = 0
        self._waiting: list[FastPath] = []
        self._due_on: asyncio.AbstractEventLoop | None = None

    def add(self, connection: FastPath) -> None:
        self._waiting.append(connection)
        loop = asyncio.get_running_loop()
        if not self.depth and self._due_on is not loop:
            self._due_on = loop
            loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._due_on = None
        self.flush()

    def flush(self) -> None:
        # A flush of a connection inside a link makes the link wait in its turn.
        while self._waiting:
            self._waiting.pop(0).flush()


_batches = Batches()


class FastPath(_Base):
    """Mixed in front of SSHClientConnection or SSHServerConnection."""

    fast = USABLE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batch: bytearray | None = None
        self._batched = 0
        self._opener: aead.Cipher | None = None
        self._sealer: aead.Cipher | None = None
        self._fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and not isinstance(transport, SSHChannel):
            self._fd = sock.fileno()

    # --- keys ---

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        super().send_newkeys(k, h)
        if self.fast:
            self._sealer = aead.adopt(self._send_encryption)
            aead.adopt(self._next_recv_encryption)

    # --- receiving ---

    def data_received(self, data: bytes | memoryview, datatype: int | None = None) -> None:
        _batches.depth += 1
        try:
            if self._at_fast_packet():
                self._reset_keepalive_timer()
                self._take(data)
            else:
                self._inpbuf += data
                self._recv_data()
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        except Exception:
            self.internal_error()
        finally:
            _batches.depth -= 1
            if not _batches.depth:
                _batches.flush()

    def _at_fast_packet(self) -> bool:
        """Whether the next byte begins a packet under an AEAD cipher of ours. `_opener` is that cipher."""
        if self._recv_handler != self._recv_pkthdr or not self.fast:
            return False
        self._opener = aead.adopted(self._recv_encryption)
        return self._opener is not None and self._decompressor is None

    def _recv_pkthdr(self) -> bool:
        if self._at_fast_packet():
            # asyncssh is back at a packet's beginning with bytes in hand: take over again.
            data, self._inpbuf = self._inpbuf, b""
            self._take(data)
            return False
        return super()._recv_pkthdr()

    def _take(self, data: bytes | memoryview) -> None:
        """Work off what has arrived behind `_inpbuf`, which holds the beginning of a packet or nothing."""
        view = memoryview(data)
        if head := self._inpbuf:
            assert self._opener is not None
            if len(head) < 4:
                more = 4 - len(head)
                self._inpbuf = head = head + view[:more]
                view = view[more:]
                if len(head) < 4:
                    return
            missing = self._total(self._opener, head) - len(head)
            if len(view) < missing:
                self._inpbuf += view
                return
            self._inpbuf = b""
            self._packets(memoryview(head + view[:missing]))
            view = view[missing:]
            if self._transport is None:
                return
            if self._inpbuf or not self._at_fast_packet():
                self._inpbuf += view
                self._recv_stock()
                return
        taken = self._packets(view)
        if taken < len(view) and self._transport is not None:
            self._inpbuf += view[taken:]
            if not self._at_fast_packet():
                self._recv_stock()

    def _recv_stock(self) -> None:
        """asyncssh's own loop over `_inpbuf`; it comes back through `_recv_pkthdr`."""
        while self._inpbuf and self._recv_handler():
            pass

    def _total(self, opener: aead.Cipher, head: bytes | memoryview) -> int:
        """Bytes of the packet that begins with `head`. Raises ProtocolError before anything is set aside for it."""
        length = opener.length(self._recv_seq, head)
        if not 5 <= length <= self._max_recv_pktlen:
            raise asyncssh.ProtocolError("Max packet size exceeded")
        return length + 4 + aead.TAG

    def _packets(self, view: memoryview) -> int:
        """Work off whole packets as long as they are fast ones; bytes that were used up."""
        buffer = _scratch.pop() if _scratch else bytearray(SCRATCH)
        try:
            return self._packets_by(view, memoryview(buffer))
        finally:
            _scratch.append(buffer)

    def _packets_by(self, view: memoryview, text: memoryview) -> int:
        opener, at, size = self._opener, 0, len(view)
        assert opener is not None
        while size - at >= 4:
            end = at + self._total(opener, view[at : at + 4])
            if end > size:
                break
            packet = view[at:end]
            length = end - at - 4 - aead.TAG
            opener.open(self._recv_seq, packet, text[:length])
            at = end
            if self._fast_packet(text, length):
                self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
            else:
                opener.stash = bytes(text[:length])
                self._inpbuf = bytes(packet)
                super()._recv_pkthdr()
                self._recv_packet()
                if self._inpbuf or not self._at_fast_packet():
                    break
                opener = self._opener  # there may be new keys
                assert opener is not None
            if self._transport is None:
                return size
        return at

    def _fast_packet(self, text: memoryview, length: int) -> bool:
        """Deal with the opened packet. False: it is for asyncssh, which will also say what is wrong with it."""
        if not self._auth_complete:
            return False
        kind = text[1]
        if kind == IGNORE:
            return True
        if kind not in (DATA, WINDOW_ADJUST) or length < 10:
            return False
        padding, _, number, count = _HEAD.unpack_from(text)
        channel = self._channels.get(number)
        if channel is None or padding < 4:
            return False
        if kind == DATA:
            return length == 10 + count + padding and self._data(channel, text[10 : 10 + count])
        return length == 10 + padding and self._window_adjust(channel, count)

    def _data(self, channel: SSHChannel[bytes], data: memoryview) -> bool:
        count = len(data)
        if channel._recv_state != "open" or count > channel._recv_window or channel._encoding:
            return False
        self._auth_final = True
        session: Any = channel._session
        if channel._recv_paused or not getattr(session, "takes_views", False):
            channel._accept_data(bytes(data))
        elif count and channel._send_state not in ("close_pending", "closed"):
            channel._recv_window -= count
            if channel._recv_window < channel._init_recv_window / 2:
                channel._deliver_data(data, None)  # type: ignore[arg-type]  # it grants new window first
            else:
                session.data_received(data, None)
        return True

    def _window_adjust(self, channel: SSHChannel[bytes], count: int) -> bool:
        """Send on what waited for it."""
        if channel._recv_state not in ("open", "eof_pending", "eof"):
            return False
        self._auth_final = True
        channel._send_window += count
        if channel._send_buf:
            self._send_waiting(channel)
        return True

    # --- sending ---

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        # asyncssh's answer to CBC's known initialisation vectors is an IGNORE before every packet; AEADs need none.
        if pkttype == IGNORE and self._sealer is not None:
            return
        super().send_packet(pkttype, *args, handler=handler)

    def _send(self, data: bytes) -> None:
        if not self.fast:
            super()._send(data)
        elif self._transport:
            self._room(len(data))[: len(data)] = data
            self._batched += len(data)

    def send_data(self, channel: SSHChannel[bytes], data: Bytes) -> int:
        """Send what can go now as CHANNEL_DATA packets; how many bytes of `data` that was."""
        sealer, sent, total = self._sealer, 0, len(data)
        if sealer is None or self._compressor:
            return 0
        while sent < total and self._may_send():
            count = min(total - sent, channel._send_window, channel._send_pktsize)
            if not count:
                break
            padding = 4 + -(count + 14) % 16
            length = 10 + count + padding
            end = 4 + length + aead.TAG
            packet = self._room(end)
            _PACKET.pack_into(packet, 0, length, padding, DATA, channel._send_chan, count)
            packet[HEADROOM : HEADROOM + count] = data if count == total else data[sent : sent + count]
            packet[HEADROOM + count : 4 + length] = _PADDING[:padding]
            sealer.seal(self._send_seq, packet[:end])
            self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
            self._rekey_bytes_sent += length
            self._batched += end
            channel._send_window -= count
            sent += count
        return sent

    def _send_waiting(self, channel: SSHChannel[bytes]) -> None:
        """What waits in asyncssh's queue, as far as the window allows; then its own code for what follows from that."""
        queue = channel._send_buf
        while queue and queue[0][1] is None:
            data = queue[0][0]
            sent = self.send_data(channel, data)
            channel._send_buf_len -= sent
            if sent < len(data):
                del data[:sent]
                break
            del queue[0]
        channel._flush_send_buf()

    def _may_send(self) -> bool:
        return (
            self._kex_complete
            and self._auth_complete
            and not self._deferred_packets
            and self._rekey_bytes_sent < self._rekey_bytes
            and self._transport is not None
            and (not self._rekey_seconds or self._loop.time() < self._rekey_time)
        )

    def _room(self, size: int) -> memoryview:
        """At least `size` bytes at the end of the batch."""
        if self._batch is not None and self._batched + size > len(self._batch):
            self.flush()
        if self._batch is None:
            self._batch = _idle.pop() if _idle and size <= BATCH else bytearray(max(BATCH, size))
            _batches.add(self)
        return memoryview(self._batch)[self._batched :]

    def flush(self) -> None:
        """Give the waiting packets to the transport."""
        batch, size = self._batch, self._batched
        self._batch, self._batched = None, 0
        if batch is None:
            return
        transport = self._transport
        if size and transport is not None:
            with memoryview(batch) as view:
                self._write_out(transport, view[:size])
        if len(batch) == BATCH and len(_idle) < IDLE:
            _idle.append(batch)

    def _write_out(self, transport: Any, view: memoryview) -> None:
        """At once, if nothing waits: then the batch can be used again, and the event loop has nothing to remember."""
        if isinstance(transport, SSHChannel):  # this connection runs inside a tunnel link
            write(transport, view)
            return
        sent = 0
        if self._fd >= 0 and not transport.get_write_buffer_size() and not transport.is_closing():
            with contextlib.suppress(OSError):  # EAGAIN; the transport will meet any other error itself
                sent = os.write(self._fd, view)
        if sent < len(view):
            transport.write(bytes(view[sent:]))

    def _force_close(self, exc: Exception | None) -> None:
        self.flush()
        super()._force_close(exc)


def write(channel: SSHChannel[bytes], data: Bytes) -> None:
    """Write to a channel; the caller may reuse `data` afterwards. Raises BrokenPipeError when it is not open."""
    connection = channel._conn
    sent = 0
    if channel._send_state == "open" and not channel._send_buf and isinstance(connection, FastPath):
        sent = connection.send_data(channel, data)
        if sent == len(data):
            return
        if sent:
            channel._send_buf.append((bytearray(data[sent:]), None))
            channel._send_buf_len += len(data) - sent
            channel._flush_send_buf()  # if it is not for the window but for new keys, it asks for them
            return
    channel.write(data)  # type: ignore[arg-type]  # it copies any bytes-like object


def switch(on: bool) -> None:
    """Use the fast path for connections made from now on, if it can be used here; or asyncssh's own way."""
    FastPath.fast = USABLE and on
