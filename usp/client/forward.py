"""Forwarded connections of a USP Client: what the USP Server asks for on a link becomes a TCP connection in the LAN.

`open_forward` resolves, asks the allow list, dials what that permits and hands back the session of the channel. From
then on bytes are relayed both ways. Neither side is read while the other cannot take more: the channel's window bounds
what comes from the server, and the target's socket is not read while the window or the link's own socket is full. The
end of one direction is passed on by itself (half-close); when both have ended the server closes; when either side
breaks, all is closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import asyncssh

from usp.client.allow import AllowList, Deny
from usp.errors import UspError
from usp.ssh.connect import Congestion
from usp.ssh.failures import said
from usp.ssh.sending import write
from usp.ssh.socketio import Intake, Outlet

LINGER: Final = 30.0
"""Seconds that a closed connection may take to hand over what it still holds."""


class Forward(asyncssh.SSHTCPSession[bytes]):
    """Relays between one channel of a link and one connection to a target."""

    takes_views = True

    def __init__(self, ended: Callable[[Forward], None], congestion: Congestion) -> None:
        self._ended = ended
        self._congestion = congestion
        self._channel: Any = None
        self._transport: asyncio.Transport | None = None
        self._outlet: Outlet | None = None
        self._early: list[bytes] = []
        self._stopped_by: set[str] = {"start"}  # why the target's socket is not read
        self._target_eof = self._channel_eof = False
        self._linger: asyncio.TimerHandle | None = None

    # the target's side

    def dialled(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._outlet = Outlet(transport)
        transport.pause_reading()

    def from_target(self, data: memoryview) -> None:
        if self._channel is None:
            self._early.append(bytes(data))
        elif not self._channel.is_closing():
            write(self._channel, data)

    def target_ended(self) -> None:
        self._target_eof = True
        if self._channel is not None:
            self._pass_eof_on()

    def target_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        if self._channel is not None:
            if error is not None:
                self._channel.abort()
            elif not self._target_eof:
                self._channel.close()
        elif not self._early:
            self._settle()

    def target_full(self, full: bool) -> None:
        if self._channel is not None and not self._channel.is_closing():
            if full:
                self._channel.pause_reading()
            else:
                self._channel.resume_reading()

    # the channel's side (called by asyncssh)

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def session_started(self) -> None:
        for data in self._early:
            self._channel.write(data)
        self._early = []
        if self._target_eof:
            self._pass_eof_on()
        elif self._transport is None:
            self._channel.close()
        self._congestion.watch(self._link_full)
        self._read_target("start", stop=False)

    def data_received(self, data: bytes | memoryview, datatype: int | None = None) -> None:
        if self._transport is not None and self._outlet is not None:
            self._outlet.write(memoryview(data))

    def eof_received(self) -> bool:
        self._channel_eof = True
        if self._target_eof:
            self._close_target()
        elif self._transport is not None:
            self._transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._congestion.unwatch(self._link_full)
        self._channel = None
        if exc is not None and self._transport is not None:
            self._transport.abort()
        self._close_target()
        self._settle()

    def pause_writing(self) -> None:
        self._read_target("window", stop=True)

    def resume_writing(self) -> None:
        self._read_target("window", stop=False)

    # both

    def abort(self) -> None:
        """The link is gone, or never took this connection: let go of the target."""
        if self._transport is not None:
            self._transport.abort()

    def _link_full(self, full: bool) -> None:
        self._read_target("link", stop=full)

    def _read_target(self, why: str, *, stop: bool) -> None:
        was = bool(self._stopped_by)
        (self._stopped_by.add if stop else self._stopped_by.discard)(why)
        if self._transport is None or self._transport.is_closing() or was == bool(self._stopped_by):
            return
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _pass_eof_on(self) -> None:
        """When both directions have ended it is for the server to close: a close of ours would overtake at its end what
        it has not handed on yet (asyncssh drops that), and look like a target that broke off."""
        if not self._channel.is_closing():
            self._channel.write_eof()
        if self._channel_eof:
            self._close_target()

    def _close_target(self) -> None:
        """Close in peace, but not for ever: a target that reads no more must not keep its connection."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER, self._transport.abort)

    def _settle(self) -> None:
        if self._transport is None and self._channel is None:
            self._ended(self)


class _TargetSide(asyncio.Protocol):
    """The target's connection, as its Forward wants to hear of it."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._forward.dialled(cast("asyncio.Transport", transport))  # uvloop's is no instance of it

    def data_received(self, data: memoryview) -> None:  # type: ignore[override]
        self._forward.from_target(data)

    def eof_received(self) -> bool:
        self._forward.target_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._forward.target_lost(exc)

    def pause_writing(self) -> None:
        self._forward.target_full(True)

    def resume_writing(self) -> None:
        self._forward.target_full(False)


async def open_forward(forward: Forward, host: str, port: int, allow: AllowList, timeout: float) -> None:
    """Connect `forward` to its target, if the allow list permits it. Raises UspError with a code fit for the server."""
    if not allow.could_permit(host, port):
        raise UspError("tunnel.not_allowed", f"{host}:{port} is not on the allow list")
    try:
        async with asyncio.timeout(timeout):
            addresses = await _resolve(host, port)
            decision = allow.decide(host, port, addresses)
            if isinstance(decision, Deny):
                raise UspError("tunnel.not_allowed", decision.reason)
            await _dial(forward, decision.addresses, port)
    except TimeoutError:
        raise UspError("target.unreachable", f"no answer from {host}:{port} within {timeout:g} s") from None
    except (OSError, UnicodeError) as error:
        raise UspError("target.unreachable", f"{host}:{port}: {said(error)}") from None


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found]


async def _dial(forward: Forward, addresses: tuple[str, ...], port: int) -> None:
    """The first of the addresses that answers."""
    failed: OSError | None = None
    for address in addresses:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Intake(_TargetSide(forward)), address, port)
        except OSError as error:
            failed = error
        else:
            return
    assert failed is not None
    raise failed
