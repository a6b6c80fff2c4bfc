"""The fast path: SSH channel data through asyncssh's connections without asyncssh's cost per packet.

`FastPath` is mixed in front of asyncssh's connection classes (see `usp.ssh.connect`); its sending half is in
`usp.ssh.sending`. It takes over, while an AEAD cipher is in force and nothing is compressed, exactly three packet types
(RFC 4254): CHANNEL_DATA, WINDOW_ADJUST, and IGNORE, which it neither needs nor sends. Everything else (key exchange,
login, requests, EOF, close) is handed to asyncssh's own code, packet by packet, with cipher state and sequence numbers
in step.

What makes it fast, in the order of what it is worth: one AEAD object per key instead of one per packet; decryption and
encryption into buffers that are there already; packets taken from what the socket gave without re-slicing it; no IGNORE
packet before every packet; data that comes in a row handed on as one piece; all packets of one read event written with
one system call; no timer set anew per packet.

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
    only. `write` copies or seals what it is given before it returns. Who writes on the very view it was given, as a
    relay does, has it sealed where it stands, with the heads of new packets over what is sealed already (`Passing`): no
    data is copied, and what the view shows afterwards means nothing.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import asyncssh
from asyncssh import connection as _connection
from asyncssh.channel import SSHChannel

from usp.ssh import aead
from usp.ssh.readevent import DATA, EVENT, HEAD, TAILROOM, Passing
from usp.ssh.sending import IGNORE, Sending

WINDOW_ADJUST: Final = 93

SCRATCH: Final = (256 << 10) + 2048
"""Room for opened packets: at least one of asyncssh's largest, and what goes around it."""

_RELIED_ON: Final = {
    _connection.SSHConnection: (
        "_recv_data", "_recv_pkthdr", "_recv_packet", "_send", "send_packet", "send_newkeys", "_force_close",
        "_keepalive_timer_callback", "_send_disconnect", "internal_error", "data_received", "connection_made",
    ),
    SSHChannel: ("_accept_data", "_flush_send_buf", "write", "_process_window_adjust"),
}  # fmt: skip

USABLE: Final = aead.USABLE and all(
    callable(getattr(owner, name, None)) for owner, names in _RELIED_ON.items() for name in names
)

_scratch: list[memoryview] = []
"""Idle buffers for opened packets. A connection inside a tunnel link is fed while the link's own is in use."""

_HEAD: Final = Struct(">BBII")  # padding length, type, channel, data length or window


class FastPath(Sending):
    """Mixed in front of SSHClientConnection or SSHServerConnection."""

    fast = USABLE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept = bytearray()  # the beginning of a packet for `_opener`
        self._opener: aead.Cipher | None = None  # for the packet that begins next, if that is for us to read
        self._heard = 0.0

    # --- keys ---

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        super().send_newkeys(k, h)
        if self.fast:
            self._sealer = aead.adopt(self._send_encryption)
            aead.adopt(self._next_recv_encryption)

    # --- receiving ---

    def data_received(self, data: bytes | memoryview, datatype: int | None = None) -> None:
        self._keepalive_count = 0  # whatever comes is a sign of life: a slow link is not a dead one
        EVENT.depth += 1
        try:
            if self._opener is None:
                self._inpbuf += data
                self._recv_data()
            else:
                self._heard = self._loop.time()
                view = memoryview(data)
                used = 0 if self._kept else self._packets(view)
                if used < len(view):
                    self._take(view[used:])
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        except Exception:
            self.internal_error()
        finally:
            EVENT.depth -= 1
            if not EVENT.depth and EVENT.waiting:
                EVENT.flush()

    def _keepalive_timer_callback(self) -> None:
        """asyncssh sets the timer anew for every packet; here it looks, when it ends, at when the last one came."""
        quiet = self._loop.time() - self._heard
        if quiet < self._keepalive_interval:
            left = self._keepalive_interval - quiet
            self._keepalive_timer = self._loop.call_later(left, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()

    def _at_fast_packet(self) -> bool:
        """Whether the next byte begins a packet under an AEAD cipher of ours; `_opener` is it from now on, or None."""
        if self._recv_handler != self._recv_pkthdr or not self.fast or self._decompressor is not None:
            self._opener = None
        else:
            self._opener = aead.adopted(self._recv_encryption)
        return self._opener is not None

    def _recv_pkthdr(self) -> bool:
        if self._at_fast_packet():
            # asyncssh is back at a packet's beginning with bytes in hand: take over again.
            data, self._inpbuf = self._inpbuf, b""
            self._take(memoryview(data))
            return False
        return super()._recv_pkthdr()

    def _take(self, view: memoryview) -> None:
        """Work off what has arrived behind `_kept`."""
        first = None
        if self._kept:
            first, view = self._complete(view)
        if first or (view and self._opener is not None):
            view = view[self._packets(view, first) :]
        if not view or self._transport is None:
            return
        if self._opener is not None:
            self._kept += view
        else:
            self._inpbuf += view
            while self._inpbuf and self._recv_handler():  # it comes back through `_recv_pkthdr`
                pass

    def _complete(self, view: memoryview) -> tuple[memoryview | None, memoryview]:
        """The packet whose beginning was kept, if all of it is here now, and what is left of `view`."""
        opener, kept = self._opener, self._kept
        assert opener is not None
        if missing := max(0, 4 - len(kept)):
            kept += view[:missing]
            view = view[missing:]
            if len(kept) < 4:
                return None, view
        length = opener.length(self._recv_seq, kept, 0)
        if not 5 <= length <= self._max_recv_pktlen:  # before anything is set aside for it
            raise _too_long()
        missing = 4 + length + aead.TAG - len(kept)
        kept += view[:missing]
        if missing > len(view):
            return None, view[missing:]
        self._kept = bytearray()
        return memoryview(kept), view[missing:]

    def _packets(self, view: memoryview, first: memoryview | None = None) -> int:
        """Work off `first`, a packet that came in pieces, and whole packets of `view` as long as they are fast ones;
        bytes of `view` that were used up.

        Data that comes in a row is opened in a row, and its reader gets all of it at once: each packet's head falls on
        the last bytes of the data before it, which are put back.
        """
        text = _scratch.pop() if _scratch else memoryview(bytearray(SCRATCH))
        opener, at, size = self._opener, 0, len(view)
        reader: Any = None  # the channel that `ready` bytes are for, which stand behind the first packet's head
        ready = 0
        try:
            while opener is not None and (first or size - at >= 4):
                if first:
                    packet, length = first, len(first) - 4 - aead.TAG
                    first = None
                else:
                    length = opener.length(self._recv_seq, view, at)
                    if not 5 <= length <= self._max_recv_pktlen:
                        raise _too_long()
                    end = at + 4 + length + aead.TAG
                    if end > size:
                        break
                    packet, at = view[at:end], end
                if ready and ready + length + TAILROOM > SCRATCH:
                    row, ready = ready, 0
                    self._deliver(reader, text, row)
                covered = bytes(text[ready : ready + HEAD])
                try:
                    opener.open(self._recv_seq, packet, text[ready : ready + length])
                    head = bytes(text[ready : ready + HEAD])
                finally:
                    text[ready : ready + HEAD] = covered
                padding, kind, number, count = _HEAD.unpack(head)
                data = kind == DATA and padding >= 4 and length == HEAD + count + padding
                if ready and not (data and number == reader._recv_chan and ready + count <= reader._recv_window):
                    own = bytes(text[ready + HEAD : ready + length])
                    row, ready = ready, 0
                    self._deliver(reader, text, row)
                    text[HEAD:length] = own
                if self._transport is None:  # it was ended by whom something was handed to
                    break
                if data and (ready or (reader := self._reader(number, count))):
                    ready += count
                    self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
                    continue
                text[:HEAD] = head
                if self._fast_packet(text, length):
                    self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
                else:
                    self._hand_over(opener, packet, text[:length])
                    opener = self._opener  # there may be new keys, or asyncssh wants what comes next
        finally:
            if ready:
                self._deliver(reader, text, ready)
            _scratch.append(text)
        return at

    def _reader(self, number: int, count: int) -> SSHChannel[bytes] | None:
        """The channel whose session takes so much data as it is, now."""
        channel = self._channels.get(number)
        takes = (
            self._auth_complete
            and channel is not None
            and (channel._recv_state == "open" and not channel._recv_paused and not channel._encoding)
            and channel._send_state not in ("close_pending", "closed")
            and count <= channel._recv_window
            and getattr(channel._session, "takes_views", False)
        )
        return channel if takes else None

    def _deliver(self, channel: SSHChannel[bytes], text: memoryview, count: int) -> None:
        """Give data to its reader."""
        self._auth_final = True
        session: Any = channel._session
        channel._recv_window -= count
        # `_deliver_data` grants new window first
        low = channel._recv_window < channel._init_recv_window / 2
        deliver: Any = channel._deliver_data if low else session.data_received
        around, EVENT.passing = EVENT.passing, Passing(text, HEAD, count)
        try:  # as EVENT.hand does, without a call more
            deliver(EVENT.passing.data, None)
        finally:
            EVENT.passing = around

    def _hand_over(self, opener: aead.Cipher, packet: memoryview, text: memoryview) -> None:
        """A packet for asyncssh: its own code takes it from here."""
        self._opener = None
        opener.stash = bytes(text)
        self._inpbuf = bytes(packet)
        super()._recv_pkthdr()
        self._recv_packet()
        if not self._inpbuf:
            self._at_fast_packet()

    def _fast_packet(self, text: memoryview, length: int) -> bool:
        """Deal with the opened packet. False: it is for asyncssh, which will also say what is wrong with it."""
        if length < HEAD or not self._auth_complete:
            return False
        padding, kind, number, count = _HEAD.unpack_from(text)
        if kind == IGNORE:
            return True
        if kind != DATA and kind != WINDOW_ADJUST:
            return False
        channel = self._channels.get(number)
        if channel is None or padding < 4:
            return False
        if kind == WINDOW_ADJUST:
            return length == HEAD + padding and self._window_adjust(channel, count)
        if length != HEAD + count + padding or channel._recv_state != "open" or channel._encoding:
            return False
        if count > channel._recv_window:
            return False
        self._auth_final = True
        channel._accept_data(bytes(text[HEAD : HEAD + count]))  # it does not read now, or takes no views
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


def _too_long() -> asyncssh.ProtocolError:
    return asyncssh.ProtocolError("Max packet size exceeded")


def switch(on: bool) -> None:
    """Use the fast path for connections made from now on, if it can be used here; or asyncssh's own way."""
    FastPath.fast = USABLE and on
