"""The sending half of the fast path (see `usp.ssh.fastpath`): packets are sealed into a batch, written at its end.

A batch is what a read event brings forth, or a tick of the event loop outside of one: one system call writes it.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from asyncssh import connection as _connection
from asyncssh.channel import SSHChannel

from usp.ssh import aead
from usp.ssh.readevent import EVENT, HEADROOM, TAILROOM, Passing, framed, padded
from usp.ssh.socketio import Outlet

IGNORE: Final = 2

BATCH: Final = (256 + 32) << 10
"""Bytes that may wait for the end of the read event before they are written anyway: what it brought, and a few more."""

SMALL: Final = 4 << 10
"""The same outside of read events, where a thousand connections may have a word in one tick: keepalives, ends."""

IDLE: Final = 4

_idle: list[memoryview] = []
"""Idle batches; a few are enough, because a batch is in use during one read event only."""

_U32: Final = Struct(">I")

if TYPE_CHECKING:
    _Base = _connection.SSHConnection
else:
    _Base = object


class Sending(_Base):
    """Mixed in front of SSHClientConnection or SSHServerConnection. While `fast`, all that they send goes this way."""

    fast = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batch: memoryview | None = None
        self._batched = 0
        self._sealer: aead.Cipher | None = None
        self._outlet: Outlet | None = None  # None: a tunnel link's channel is our transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not isinstance(transport, SSHChannel):
            self._outlet = Outlet(transport)

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        # asyncssh's answer to CBC's known initialisation vectors is an IGNORE before every packet; AEADs need none.
        if pkttype == IGNORE and self._sealer is not None:
            return
        super().send_packet(pkttype, *args, handler=handler)

    def _send(self, data: bytes) -> None:
        if not self.fast:
            super()._send(data)
        elif self._transport:
            batch, at = self._room(len(data))
            batch[at : at + len(data)] = data
            self._batched += len(data)

    def send_data(self, channel: SSHChannel[bytes], data: aead.Bytes) -> int:
        """Send what can go now as CHANNEL_DATA packets; how many bytes of `data` that was."""
        sent, total = 0, len(data) if self._may_send() else 0
        while sent < total and self._rekey_bytes_sent < self._rekey_bytes:
            count = min(total - sent, channel._send_window, channel._send_pktsize)
            if not count:
                break
            self._seal(channel, data, sent, count)
            channel._send_window -= count
            sent += count
        return sent

    def _seal(self, channel: SSHChannel[bytes], data: aead.Bytes, start: int, count: int) -> None:
        """One CHANNEL_DATA packet with `count` bytes of `data`, from `start` on."""
        passing, number, length = EVENT.passing, channel._send_chan, padded(count)
        assert number is not None
        assert self._sealer is not None
        size = 4 + length + aead.TAG
        batch, at = self._room(size)
        packet = batch[at : at + size]
        _U32.pack_into(packet, 0, length)
        if passing is not None and passing.data is data:
            buffer, start = passing.buffer, passing.at + start
            behind = slice(start + count, start + count + TAILROOM)
            rest = bytes(buffer[behind])
            self._sealer.seal(self._send_seq, packet, framed(buffer, start, count, number, length))
            buffer[behind] = rest
        else:
            packet[HEADROOM : HEADROOM + count] = data[start : start + count]
            self._sealer.seal(self._send_seq, packet, framed(packet, HEADROOM, count, number, length))
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += length
        self._batched += size

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
            self._sealer is not None
            and self._kex_complete
            and self._auth_complete
            and not self._deferred_packets
            and self._transport is not None
            and not self._compressor
            and (not self._rekey_seconds or self._loop.time() < self._rekey_time)
        )

    def _room(self, size: int) -> tuple[memoryview, int]:
        """The batch, and from where in it there are at least `size` bytes."""
        if self._batch is not None and self._batched + size > len(self._batch) - TAILROOM:
            self.flush()
        if self._batch is None:
            size += HEADROOM + TAILROOM
            usual = BATCH if EVENT.depth or size > SMALL else SMALL
            self._batch = _idle.pop() if _idle and size <= usual == BATCH else memoryview(bytearray(max(usual, size)))
            self._batched = HEADROOM
            EVENT.add(self)
        return self._batch, self._batched

    def flush(self) -> None:
        """Give the waiting packets to the transport."""
        batch, size = self._batch, self._batched - HEADROOM
        self._batch = None
        if batch is None:
            return
        if not size or self._transport is None:
            pass
        elif self._outlet is not None:
            self._outlet.write(batch[HEADROOM : HEADROOM + size])
        else:
            passing = Passing(batch, HEADROOM, size)
            EVENT.hand(passing, write, self._transport, passing.data)
        if len(batch) == BATCH and len(_idle) < IDLE:
            _idle.append(batch)

    def _force_close(self, exc: Exception | None) -> None:
        self.flush()
        super()._force_close(exc)


def write(channel: SSHChannel[bytes], data: aead.Bytes) -> None:
    """Write to a channel; the caller may reuse `data` afterwards. Raises BrokenPipeError when it is not open."""
    connection = channel._conn
    sent = 0
    if channel._send_state == "open" and not channel._send_buf and isinstance(connection, Sending):
        sent = connection.send_data(channel, data)
        if sent == len(data):
            return
        if sent:
            channel._send_buf.append((bytearray(data[sent:]), None))
            channel._send_buf_len += len(data) - sent
            channel._flush_send_buf()  # if it is not for the window but for new keys, it asks for them
            return
    channel.write(data)  # type: ignore[arg-type]  # it copies any bytes-like object
