"""The internals of asyncssh that the refusals stand on. (What partners get to see: tests/e2e/test_refusals.)"""

from __future__ import annotations

import inspect

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_OPEN, MSG_GLOBAL_REQUEST
from asyncssh.packet import Boolean, SSHPacket, String, UInt32

from usp.ssh.requests import Restricted


class Owner:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def refused(self, kind: str) -> None:
        self.kinds.append(kind)


class Wire(Restricted):
    """It keeps what it would send."""

    def __init__(self) -> None:
        self._owner = self.owner = Owner()
        self._global_request_queue = []
        self.sent: list[bytes] = []

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        self.sent.append(bytes([pkttype]) + b"".join(args))

    def is_closed(self) -> bool:
        return False


def test_what_this_stands_on() -> None:
    handlers = SSHConnection._packet_handlers
    assert handlers[MSG_CHANNEL_OPEN] is SSHConnection._process_channel_open
    assert handlers[MSG_GLOBAL_REQUEST] is SSHConnection._process_global_request
    assert "if callable(handler)" in inspect.getsource(SSHConnection._service_next_global_request)
    assert "self._request_queue[0]" in inspect.getsource(SSHChannel._service_next_request)


def opened(kind: bytes) -> Wire:
    wire = Wire()
    packet = SSHPacket(String(kind) + UInt32(7) + UInt32(1) + UInt32(1))
    Restricted._packet_handlers[MSG_CHANNEL_OPEN](wire, MSG_CHANNEL_OPEN, 0, packet)
    return wire


def test_channels() -> None:
    prohibited, unknown = opened(b"direct-tcpip"), opened(b"made-up\xff")
    assert prohibited.sent[0].startswith(b"\x5c" + UInt32(7) + UInt32(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED))
    assert unknown.sent[0].startswith(b"\x5c" + UInt32(7) + UInt32(asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE))
    assert (prohibited.owner.kinds, unknown.owner.kinds) == (["direct-tcpip"], ["other"])


def test_global_requests() -> None:
    wire = Wire()
    for name, answer in ((b"tcpip-forward", True), (b"cancel-tcpip-forward", True), (b"made-up", False)):
        packet = SSHPacket(String(name) + Boolean(answer))
        Restricted._packet_handlers[MSG_GLOBAL_REQUEST](wire, MSG_GLOBAL_REQUEST, 0, packet)
    assert wire.sent == [b"\x52", b"\x52"]
    assert wire.owner.kinds == ["tcpip-forward", "cancel-tcpip-forward", "other"]


def test_a_session_too_many() -> None:
    wire = Wire()
    wire.send_channel_open_failure(1, asyncssh.OPEN_RESOURCE_SHORTAGE, "", "")
    wire.send_channel_open_failure(1, asyncssh.OPEN_CONNECT_FAILED, "", "")
    assert wire.owner.kinds == ["session"]
