"""What a partner's connection may ask for beside a session channel: nothing. asyncssh grants or ends too much of it.

Channels of any other type are refused (RFC 4254, 5.1): forwardings, tun, X11 and agent as prohibited, what nobody knows
as unknown. Global requests are answered with a failure (4): also those about forwardings that never were, for which
asyncssh would end the connection. Each refusal is told to the connection's owner by a name of `KINDS`.
"""

from __future__ import annotations

from typing import Any, Final

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_OPEN, MSG_GLOBAL_REQUEST
from asyncssh.packet import SSHPacket

from usp.ssh.connect import ServerConnection

OTHER: Final = "other"
SESSION: Final = "session"
CHANNELS: Final = frozenset(
    {
        "direct-tcpip", "forwarded-tcpip", "direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com",
        "tun@openssh.com", "x11", "auth-agent@openssh.com",
    }
)  # fmt: skip
GLOBAL: Final = frozenset(
    {
        "tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com",
        "cancel-streamlocal-forward@openssh.com",
    }
)  # fmt: skip
ON_A_CHANNEL: Final = frozenset(
    {"shell", "exec", "subsystem", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com"}
)
KINDS: Final = frozenset({SESSION, OTHER, *CHANNELS, *GLOBAL, *ON_A_CHANNEL})
"""All that is counted by its own name: what strangers make up is `other`."""

_HARMLESS: Final = frozenset({"keepalive@openssh.com", "no-more-sessions@openssh.com", "hostkeys-prove-00@openssh.com"})
"""Global requests that asyncssh may answer in its own way; none of them opens anything."""


class Restricted(ServerConnection):
    """We are the SSH server, and there are session channels only."""

    _owner: Any

    def refused(self, name: str) -> None:
        self._owner.refused(name if name in KINDS else OTHER)

    def send_channel_open_failure(self, send_chan: int, code: int, reason: str, lang: str) -> None:
        if code == asyncssh.OPEN_RESOURCE_SHORTAGE:
            self.refused(SESSION)
        super().send_channel_open_failure(send_chan, code, reason, lang)

    def _process_open(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        ahead = SSHPacket(packet.get_remaining_payload())
        name, channel = ahead.get_string().decode("ascii", "replace"), ahead.get_uint32()
        if name == SESSION:
            self._process_channel_open(pkttype, pktid, packet)
            return
        self.refused(name)
        known = name in CHANNELS
        code = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED if known else asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE
        self.send_channel_open_failure(channel, code, "not permitted" if known else "unknown channel type", "")

    def _process_global(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        ahead = SSHPacket(packet.get_remaining_payload())
        name, answer = ahead.get_string().decode("ascii", "replace"), ahead.get_boolean()
        if name in _HARMLESS:
            self._process_global_request(pkttype, pktid, packet)
            return
        self.refused(name)
        self._global_request_queue.append((None, packet, answer))  # in its turn: answers carry no name
        if len(self._global_request_queue) == 1:
            self._service_next_global_request()

    _packet_handlers = {  # noqa: RUF012  (asyncssh's own way)
        **SSHConnection._packet_handlers,
        MSG_CHANNEL_OPEN: _process_open,
        MSG_GLOBAL_REQUEST: _process_global,
    }
