"""What asyncssh does at every login for nothing, left out.

* It numbers connections in an attribute of their class. Python then forgets, at each connection, whatever it had cached
  about the attributes and methods of all connections: this alone is a tenth of a login.
* It makes the text of its debug messages, and of one for every packet, before it asks whether anybody wants them.
* It takes each number and string of a packet out with several calls, and asks for its logger with one.
* It waits for the peer's identification before it offers algorithms: a write of its own, and for the peer a wait.
* It looks every character of user names and passwords up in Unicode tables, where ASCII has nothing to prepare.
* It asks of every packet's result, which mostly is `None` or `True`, whether it is awaitable: for those that is slow.
* It makes a task of handlers that never wait (`AT_ONCE`): a turn of the event loop each, and a write of its own for
  what they send.
* It parses the target's host key, where the pinned one has been parsed already, and makes the list of host key
  algorithms anew for each connection.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
from collections.abc import Callable, Coroutine, Generator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from asyncssh import auth as _auth
from asyncssh import connection as _connection
from asyncssh.constants import MSG_KEXINIT, MSG_USERAUTH_REQUEST
from asyncssh.logging import SSHLogger
from asyncssh.packet import PacketDecodeError, SSHPacket, SSHPacketLogger
from asyncssh.public_key import SSHKey
from asyncssh.saslprep import saslprep as _saslprep

PACKETS: Final = 3
"""asyncssh's own debug level from which it tells of packets."""

AT_ONCE: Final = frozenset({MSG_KEXINIT, MSG_USERAUTH_REQUEST})
"""Messages whose handlers are coroutines that, here, run through without waiting for anything."""

_numbers: Final = itertools.count()
_select_host_key_algs: Final = _connection._select_host_key_algs

if TYPE_CHECKING:
    _Base = _connection.SSHConnection
else:
    _Base = object


class LeanLogger(SSHLogger):
    """It asks first. Its children are of its kind."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self._logger.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)

    def info(self, msg: object, *args: Any, **kwargs: Any) -> None:
        if self._logger.isEnabledFor(logging.INFO):
            super().info(msg, *args, **kwargs)

    def debug1(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            super().debug1(msg, *args, **kwargs)

    def debug2(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if self._debug_level >= 2:
            super().debug2(msg, *args, **kwargs)


class LeanPacket(SSHPacket):
    """It takes out at once what asyncssh takes out by parts."""

    def get_byte(self) -> int:
        at = self._idx
        if at >= self._len:
            raise PacketDecodeError("Incomplete packet")
        self._idx = at + 1
        return self._packet[at]

    def get_uint32(self) -> int:
        at, end = self._idx, self._idx + 4
        if end > self._len:
            raise PacketDecodeError("Incomplete packet")
        self._idx = end
        return int.from_bytes(self._packet[at:end], "big")

    def get_string(self) -> bytes:
        at = self._idx + 4
        if at > self._len:
            raise PacketDecodeError("Incomplete packet")
        end = at + int.from_bytes(self._packet[at - 4 : at], "big")
        if end > self._len:
            raise PacketDecodeError("Incomplete packet")
        self._idx = end
        return self._packet[at:end]


class Lean(_Base):
    """Mixed in front of SSHClientConnection or SSHServerConnection."""

    logger = property(attrgetter("_logger"))
    _offered = False
    """Our algorithms have been, and asyncssh does not know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logger = LeanLogger(self._logger._logger, context=self._logger._context)

    @staticmethod
    def _get_next_conn() -> int:
        return next(_numbers)

    def _send_version(self) -> None:
        super()._send_version()
        self._send_kexinit()
        self._offered = True

    def _send_kexinit(self) -> None:
        if self._offered:
            self._offered = False
        else:
            super()._send_kexinit()

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        result = super().process_packet(pkttype, pktid, packet)
        if pkttype in AT_ONCE and inspect.iscoroutine(result):
            return run_through(result)
        return result

    def _validate_host_key(self, host: str, addr: str, port: int, key_data: bytes) -> SSHKey:
        for key in self._trusted_host_keys or ():
            if key.public_data == key_data and key not in self._revoked_host_keys:
                return key
        return super()._validate_host_key(host, addr, port, key_data)


def told_of(tell: Callable[..., None]) -> Callable[..., None]:
    """The same, if somebody wants to hear of packets."""

    def log_packet(*args: Any) -> None:
        if SSHLogger._debug_level >= PACKETS:
            tell(*args)

    return log_packet


def run_through(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it here and now: True. If it waits for something after all: what is left of it, to be awaited."""
    try:
        waited = coroutine.send(None)
    except StopIteration:
        return True
    return _rest(coroutine, waited)


async def _rest(coroutine: Coroutine[Any, Any, Any], waited: Any) -> None:
    await _Begun(coroutine, waited)


class _Begun:
    """A coroutine that has been started, and waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waited: Any) -> None:
        self._coroutine = coroutine
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, None]:
        while True:
            try:
                result = yield self._waited
            except BaseException as exc:
                step = functools.partial(self._coroutine.throw, exc)
            else:
                step = functools.partial(self._coroutine.send, result)
            try:
                self._waited = step()
            except StopIteration:
                return


def saslprep(text: str) -> str:
    """RFC 4013. Printable ASCII is what it is: nothing of it is mapped, normalised, prohibited or right to left."""
    return text if text.isascii() and text.isprintable() else _saslprep(text)


class _Inspect:
    """The module `inspect`, with a quick answer about what handlers and callbacks mostly return."""

    @staticmethod
    def isawaitable(found: Any) -> bool:
        return found is not None and found is not True and found is not False and inspect.isawaitable(found)

    def __getattr__(self, name: str) -> Any:
        return getattr(inspect, name)


@functools.lru_cache(maxsize=256)
def _selected(*which: Any) -> list[bytes]:
    return list(_select_host_key_algs(*which))


def select_host_key_algs(*which: Any) -> Any:
    """The same for the same options. An empty list means another thing than an empty tuple, and is left alone."""
    if [] in which:
        return _select_host_key_algs(*which)
    return _selected(*(tuple(names) if isinstance(names, list) else names for names in which))


def _install() -> None:
    """In the modules that use it: there is no other way in."""
    for module in (_auth, _connection):
        if getattr(module, "saslprep", None) is _saslprep:
            module.saslprep = saslprep  # type: ignore[attr-defined]
    names = vars(_connection)
    if names.get("SSHPacket") is SSHPacket:
        names["SSHPacket"] = LeanPacket
    if names.get("inspect") is inspect:
        names["inspect"] = _Inspect()
    names["_select_host_key_algs"] = select_host_key_algs
    SSHPacketLogger.log_sent_packet = told_of(SSHPacketLogger.log_sent_packet)  # type: ignore[method-assign]
    SSHPacketLogger.log_received_packet = told_of(SSHPacketLogger.log_received_packet)  # type: ignore[method-assign]


_install()
