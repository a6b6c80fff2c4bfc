"""The partner's leg: what asyncssh asks of an SSH server, answered in one line each.

Granted: the login methods that the Rule still has use for, and session channels with the `sftp` subsystem. All else
(shell, exec, pty, X11, agent, environment, every forwarding, every other subsystem) is refused: most of it by not being
answered here, or by the options of `usp.ssh.options`. A refusal ends nothing, so that a normal client goes on.

asyncssh swallows what is raised in a callback, or drops the connection for it: nothing may be raised here but the
exception that it knows, `ChannelOpenError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import asyncssh
from asyncssh.auth import KbdIntChallenge, KbdIntResponse
from asyncssh.constants import MSG_CHANNEL_EOF
from asyncssh.packet import SSHPacket

from usp.server.admission import Admission
from usp.server.auth import Method
from usp.ssh.login import LoginServer, PartnerConnection
from usp.ssh.requests import ON_A_CHANNEL, Restricted
from usp.tasks import spawn

WINDOW: Final = 2 * 1024 * 1024
"""Receive window of an sftp channel: what bounds the memory of a stalled transfer, in each direction."""
PACKET: Final = 32 * 1024

ChannelGrant = tuple["SftpChannel", asyncssh.SSHServerSession[bytes]]


class Partner(Protocol):
    """Who answers for a partner's connection: the session."""

    def partner_made(self, connection: PartnerConnection) -> None: ...

    def partner_lost(self, exc: Exception | None) -> None: ...

    def named(self, username: str) -> None: ...

    def channel_requested(self) -> ChannelGrant: ...

    def refused(self, kind: str) -> None: ...


class PartnerServer(LoginServer):
    def __init__(self, partner: Partner, admission: Admission) -> None:
        self._partner = partner
        self._admission = admission

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, PartnerConnection)
        self._partner.partner_made(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._partner.partner_lost(exc)

    def session_requested(self) -> ChannelGrant:
        return self._partner.channel_requested()

    def refused(self, kind: str) -> None:
        self._partner.refused(kind)

    # --- the login ---

    def begin_auth(self, username: str) -> bool:
        self._partner.named(username)
        return True

    def logged_in(self) -> bool:
        return self._admission.complete

    def too_many_refused(self) -> None:
        self._admission.give_up()

    def password_auth_supported(self) -> bool:
        return self._admission.offers(Method.PASSWORD)

    def kbdint_auth_supported(self) -> bool:
        return self._admission.offers(Method.KEYBOARD_INTERACTIVE)

    def public_key_auth_supported(self) -> bool:
        return self._admission.offers(Method.PUBLIC_KEY)

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._admission.password_tried(Method.PASSWORD, password)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> KbdIntChallenge:
        return "", "", "", [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: KbdIntResponse) -> KbdIntChallenge:
        return len(responses) == 1 and await self._admission.password_tried(Method.KEYBOARD_INTERACTIVE, responses[0])

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._admission.knows_key(key.public_data)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._admission.trusts_ca(key.public_data)

    async def key_tried(self, fingerprint: str, *, fits: bool, proven: bool) -> bool:
        return await self._admission.key_tried(fingerprint, fits=fits, proven=proven)


class SftpChannel(asyncssh.SSHServerChannel[bytes]):
    """A partner's session channel. It grants what its session cannot: `sftp` once the target's channel is open.

    asyncssh decides about a subsystem at once and then reads; here the decision may take its time (as asyncssh's own
    about X11 does), and until then nothing is read. Other requests are refused without asyncssh's code for them.
    """

    def __init__(
        self, connection: Restricted, open_target: Callable[[], Awaitable[bool]], held: Callable[[], bool]
    ) -> None:
        """`held`: whether nothing is to be read at present."""
        super().__init__(
            connection,
            asyncio.get_running_loop(),
            allow_pty=False,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=WINDOW,
            max_pktsize=PACKET,
        )
        self._partner_connection = connection
        self._open_target = open_target
        self._held = held

    def _service_next_request(self) -> None:
        """A subsystem may be granted; everything else is refused, and what would have changed something is told."""
        request, _, wants_reply = self._request_queue[0]
        if request == "subsystem":
            super()._service_next_request()
            return
        if wants_reply or request in ON_A_CHANNEL:
            self._partner_connection.refused(request)
        self._report_response(False)

    def _process_subsystem_request(self, packet: SSHPacket) -> bool | None:  # type: ignore[override]
        name = packet.get_string()
        packet.check_end()
        if name != b"sftp" or self._session_started:
            self._partner_connection.refused("subsystem")
            return False
        self._session_started = True
        spawn(self._finish_subsystem_request(), "sftp channel")
        return None

    async def _finish_subsystem_request(self) -> None:
        granted = False
        try:
            granted = await self._open_target()
        finally:
            if self._session is not None:  # else the channel is closed by now
                self._report_response(granted)

    def resume_reading(self) -> None:
        """asyncssh resumes when the subsystem is granted, too, although the way to the target may be full."""
        if not self._held():
            super().resume_reading()

    def _process_eof(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """A second EOF means nothing new: clients on Go's x/crypto/ssh (rclone) send one for each thing they close."""
        if self._recv_state not in ("eof_pending", "eof"):
            super()._process_eof(pkttype, pktid, packet)

    _packet_handlers = {**asyncssh.SSHServerChannel._packet_handlers, MSG_CHANNEL_EOF: _process_eof}  # noqa: RUF012  (asyncssh's own way)
