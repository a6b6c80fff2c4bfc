"""Exchange: one sftp channel of the partner, its counterpart at the target, and the Relay between them.

    partner == PartnerEnd --bytes--> Exchange --bytes--> Relay --Step--> Exchange --bytes--> TargetEnd == target

Memory is bounded in both directions. Reading from a channel stops while what it leads to is full: the other channel's
send buffer is above its high-water mark, or the socket below it takes no more. What comes in meanwhile is kept by
asyncssh, up to the channel's receive window. The partner is also held while *its own* channel is full, because a denied
request is answered from here (OpenSSH's sftp-server stops reading for the same reason).

Ends: EOF is passed on, in both directions; when the target closes its channel, the partner gets the exit status and the
close; when the partner closes, so does the target's channel, after all that was written has been sent. The callbacks
are thin: asyncssh swallows what they raise, so `Exchange` catches it and tells its host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import asyncssh

from usp.errors import UspError
from usp.server.screening import Screening
from usp.server.throttle import Throttle
from usp.server.waits import Side, Waits
from usp.sftp.files import File
from usp.sftp.records import Record
from usp.sftp.relay import Relay
from usp.sftp.steps import Close, Step
from usp.sftp.wire import Bytes
from usp.ssh.connect import LINK, ClientConnection, Congestion, ServerConnection
from usp.ssh.sending import write

AnyChannel: TypeAlias = asyncssh.SSHServerChannel[bytes] | asyncssh.SSHClientChannel[bytes]


CLEARING: Final = 10.0
"""Seconds for removing what a partner who went left half done."""


class Host(Protocol):
    """Who an exchange belongs to: the session."""

    def recorded(self, records: Sequence[Record]) -> None: ...

    def violated(self, close: Close) -> None: ...

    def crashed(self, exc: Exception) -> None: ...

    def fail(self, error: UspError) -> None: ...

    def exchange_ended(self, exchange: Exchange) -> None: ...


class Valve:
    """Reading from a channel. Shut before the channel is there: it starts shut."""

    def __init__(self, shut: bool = False) -> None:
        self._channel: AnyChannel | None = None
        self._shut = shut

    def is_shut(self) -> bool:
        return self._shut

    def attach(self, channel: AnyChannel) -> None:
        self._channel = channel
        if self._shut:
            channel.pause_reading()

    def detach(self) -> None:
        self._channel = None

    def set(self, shut: bool) -> None:
        """Opening delivers at once what was kept: by then the valve may be shut again."""
        if shut == self._shut:
            return
        self._shut = shut
        if self._channel:
            if shut:
                self._channel.pause_reading()
            else:
                self._channel.resume_reading()


class Exchange:
    """`bytes_in` came from the partner, `bytes_out` from the target, the last at `last_active`, by the event loop's
    time. `broken`: the partner went without closing."""

    def __init__(
        self,
        host: Host,
        relay: Relay | Screening,
        throttle: Throttle,
        limits: Sequence[tuple[str, str]] = (),
        waits: Waits | None = None,
    ) -> None:
        """`limits`: keys of what bounds its upload and its download."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.broken = False
        self.partner_done = False
        self.target_first = False
        self.partner_end = PartnerEnd(self)
        self.target_end = TargetEnd(self)
        self.from_partner_valve = Valve(shut=True)
        self.from_target_valve = Valve(shut=True)
        self._partner_full: set[str] = {"not started"}  # why nothing more may be written to the partner
        self._target_full: set[str] = set()
        self._upload = throttle.flow((upload for upload, _ in limits), self._hold_upload)
        self._download = throttle.flow((download for _, download in limits), self._hold_download)
        self._host = host
        self._relay = relay
        self._now = asyncio.get_running_loop().time
        self._waits = waits or Waits(self._now)
        self.last_active = self._now()
        self._waiting = False  # for answers of the target
        self._finished = False
        self._violated = False
        self._eof_due = False
        self._clear = asyncio.Event()  # of what may be needed still at the target
        self._greeting: asyncio.TimerHandle | None = None
        if isinstance(relay, Screening):
            relay.attach(self)

    def from_partner(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if self._upload.queues:
            self._upload.passed(len(data))
        self.last_active = self._now()
        try:
            self.perform(self._relay.from_inbound(data))
            if (waiting := self._relay.waiting) is not self._waiting:
                self._turn(waiting)
        except Exception as exc:  # asyncssh would swallow it
            self._host.crashed(exc)

    def from_target(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if self._download.queues:
            self._download.passed(len(data))
        self.last_active = self._now()
        try:
            self.perform(self._relay.from_outbound(data))
            if (waiting := self._relay.waiting) is not self._waiting:
                self._turn(waiting)
        except Exception as exc:
            self._host.crashed(exc)

    def partner_eof(self) -> None:
        self.partner_done = True
        try:
            self.perform(self._relay.inbound_eof())
        except Exception as exc:
            self._host.crashed(exc)
        self._eof_due = True
        if self._relay.settled:
            self.settled()

    def target_eof(self) -> None:
        if self.partner_end.channel:
            self.partner_end.channel.write_eof()

    def opened(self) -> bool:
        """The target's channel was opened. Whether it is still there and wanted: if the partner has gone, it is not."""
        if self.target_end.channel and self.partner_end.channel is None:
            self.target_end.channel.close()
            return False
        return self.target_end.channel is not None

    def await_greeting(self, seconds: float, asked: bool = False) -> None:
        """A target that granted the subsystem answers INIT within so many seconds (twice as many at most, since the
        partner's INIT is not timed itself); else the session, which cannot begin, ends."""
        if self.bytes_out or self._finished:
            return
        if asked:
            self._host.fail(UspError("target.unreachable", "the target grants sftp and does not answer INIT"))
        else:
            again = bool(self.bytes_in)
            self._greeting = asyncio.get_running_loop().call_later(seconds, self.await_greeting, seconds, again)

    def started(self) -> None:
        """The partner has its subsystem."""
        self.partner_full(False, "not started")

    def partner_full(self, full: bool, why: str) -> None:
        """The way to the partner is full, or no more."""
        (self._partner_full.add if full else self._partner_full.discard)(why)
        self._settle()

    def target_full(self, full: bool, why: str) -> None:
        (self._target_full.add if full else self._target_full.discard)(why)
        self._settle()

    @property
    def file(self) -> File | None:
        return self._relay.file

    @property
    def held(self) -> bool:
        """A limit of bandwidth does not let it read."""
        return self._upload.held or self._download.held

    def _hold_upload(self, held: bool) -> None:
        self.target_full(held, "bandwidth")  # which stops reading from the partner, and nothing else

    def _hold_download(self, held: bool) -> None:
        self._settle()

    def _settle(self) -> None:
        self.from_target_valve.set(shut=bool(self._partner_full) or self._download.held)
        self.from_partner_valve.set(shut=bool(self._partner_full or self._target_full))
        self._turn(self._relay.waiting)

    def _turn(self, waiting: bool) -> None:
        """Who is waited for from now on (see `waits`)."""
        self._waiting = waiting
        if self._partner_full:
            side = Side.PARTNER
        elif self._upload.held or self._download.held:
            side = Side.GATEWAY
        elif not waiting:
            side = Side.PARTNER
        elif self._target_full and self.target_end.link_full:
            side = Side.TUNNEL
        else:
            side = Side.TARGET
        self._waits.turn(side)

    def partner_closed(self, exc: Exception | None) -> None:
        self.broken = exc is not None
        self.partner_done = True
        self.from_partner_valve.detach()
        self.perform(self._relay.abandon())
        if self._relay.settled:
            self.settled()
        else:
            self._partner_full.clear()  # what comes for it is dropped
            self._settle()
            asyncio.get_running_loop().call_later(CLEARING, self._close_target)
        self._finish_when_both_closed()

    def settled(self) -> None:
        """Nothing needs to be done at the target any more: it may hear of the partner's end."""
        self._clear.set()
        if self.partner_done and self.partner_end.channel is None:
            self._close_target()
        elif self._eof_due and self.target_end.channel:
            self.target_end.channel.write_eof()

    async def cleared(self) -> None:
        """The partner has gone: until what it left half done at the target is removed, or cannot be."""
        self.perform(self._relay.abandon())
        if not self._relay.settled and self.target_end.channel:
            try:
                async with asyncio.timeout(CLEARING):
                    await self._clear.wait()
            except TimeoutError:
                pass  # what is left is told by `finish`

    def crashed(self, exc: Exception) -> None:
        self._host.crashed(exc)

    def _close_target(self) -> None:
        if self.target_end.channel:
            self.target_end.channel.close()

    def target_closed(self) -> None:
        self.target_first = not self.partner_done
        self.from_target_valve.detach()
        self._clear.set()
        # Later, because when the whole connection to the target was lost the session first says so to the partner.
        asyncio.get_running_loop().call_soon(self._close_partner)
        self._finish_when_both_closed()

    def finish(self) -> None:
        """Nothing more will come: account for what was left open. Once."""
        if not self._finished:
            self._finished = True
            if self._greeting:
                self._greeting.cancel()
            self._upload.close()
            self._download.close()
            records = self._relay.finish()
            self.broken = self.broken or bool(records)
            self._host.recorded(records)

    def _close_partner(self) -> None:
        channel = self.partner_end.channel
        if channel is None:
            return
        if self.target_end.signal:
            channel.exit_with_signal(*self.target_end.signal)
        elif self.target_end.status is not None:
            channel.exit(self.target_end.status)
        else:
            channel.close()

    def _finish_when_both_closed(self) -> None:
        if not self._finished and self.partner_end.channel is None and self.target_end.channel is None:
            self.finish()
            self._host.exchange_ended(self)

    def perform(self, step: Step) -> None:
        if step.to_outbound:
            _write(self.target_end.channel, step.to_outbound)
        if step.to_inbound:
            _write(self.partner_end.channel, step.to_inbound)
        if step.records:
            self._host.recorded(step.records)
        if step.close and not self._violated:
            self._violated = True
            self._host.violated(step.close)


def _write(channel: AnyChannel | None, pieces: Sequence[Bytes]) -> None:
    """What comes too late for a channel that is closing is dropped: its reader is gone."""
    if channel is None or channel.is_closing():
        return
    for piece in pieces:
        write(channel, piece)


def _congestion(channel: AnyChannel) -> Congestion:
    """Of the connection that the channel is on."""
    connection = channel.get_connection()
    assert isinstance(connection, (ServerConnection, ClientConnection))
    return connection.congestion


class PartnerEnd(asyncssh.SSHServerSession[bytes]):
    """asyncssh's callbacks for the partner's channel. What is not named (shell, exec, pty) is refused."""

    takes_views = True  # see usp.ssh.fastpath

    def __init__(self, exchange: Exchange) -> None:
        self.channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._exchange = exchange
        self._congestion = Congestion()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.channel = chan
        self._exchange.from_partner_valve.attach(chan)
        self._congestion = _congestion(chan)
        self._congestion.watch(self._socket_full)

    def session_started(self) -> None:
        self._exchange.started()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._exchange.from_partner(data)

    def eof_received(self) -> bool:
        self._exchange.partner_eof()
        return True

    def pause_writing(self) -> None:
        self._exchange.partner_full(True, "channel")

    def resume_writing(self) -> None:
        self._exchange.partner_full(False, "channel")

    def _socket_full(self, full: bool) -> None:
        self._exchange.partner_full(full, "socket")

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel = None
        self._congestion.unwatch(self._socket_full)
        self._exchange.partner_closed(exc)


class TargetEnd(asyncssh.SSHClientSession[bytes]):
    """asyncssh's callbacks for the target's channel."""

    takes_views = True

    def __init__(self, exchange: Exchange) -> None:
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.status: int | None = None
        self.signal: tuple[str, bool, str, str] | None = None
        self._exchange = exchange
        self._congestion = Congestion()

    @property
    def link_full(self) -> bool:
        return self._congestion.held_by(LINK)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan
        self._exchange.from_target_valve.attach(chan)
        self._congestion = _congestion(chan)
        self._congestion.watch(self._socket_full)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is None:  # what the target's sftp-server says on stderr is not for partners
            self._exchange.from_target(data)

    def eof_received(self) -> bool:
        self._exchange.target_eof()
        return True

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.signal = (signal, core_dumped, "", "")

    def pause_writing(self) -> None:
        self._exchange.target_full(True, "channel")

    def resume_writing(self) -> None:
        self._exchange.target_full(False, "channel")

    def _socket_full(self, full: bool) -> None:
        self._exchange.target_full(full, "socket")

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel = None
        self._congestion.unwatch(self._socket_full)
        self._exchange.target_closed()
