"""What asyncssh leaves out of logins, added in one place. It stands on the internals that the tests pin.

Towards partners: partial success (RFC 4252, 5.1), so that a login may take several methods; the proof of a key is told
apart from the mere question about it; certificates must name their user (asyncssh lets one without names be
anybody's); no signatures but those of the
node's profile; whoever asks for the login service again before each attempt (paramiko does) gets it,
as from OpenSSH. Towards targets: a key that was refused is not followed by anything weaker.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_SERVICE_REQUEST, MSG_USERAUTH_FAILURE
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.public_key import SSHOpenSSHCertificate

from usp.errors import UspError
from usp.ssh import keys
from usp.ssh.connect import ClientConnection
from usp.ssh.hostkeys import Announcing
from usp.ssh.kexinit import PENALISED, penalised

FIRST: Final = 32
"""Bytes that are kept to say what it was if it was not SSH."""
SFTP_COMMANDS: Final = (None, "internal-sftp")
"""What a certificate's critical option `force-command` may say: nothing else is to be had here."""


class LoginServer(asyncssh.SSHServer):
    """The owner of a `PartnerConnection`: it judges, and says when it is enough."""

    def logged_in(self) -> bool:
        """Whether nothing more is asked of the partner. Until then, what was accepted is partial success."""
        raise NotImplementedError

    async def key_tried(self, fingerprint: str, *, fits: bool, proven: bool) -> bool:
        """A key was tried: is it accepted? Not `proven`: the partner only asks whether it would be."""
        raise NotImplementedError

    def refused(self, kind: str) -> None:
        """The partner asked for something that is not to be had, one of `usp.ssh.requests.KINDS`."""


class PartnerConnection(Announcing):
    """We are the SSH server, and a login may take several methods."""

    _owner: LoginServer
    first_words = b""
    """What came first; from who speaks SSH it is an identification."""

    def _recv_version(self) -> bool:
        self.first_words = self.first_words or bytes(self._inpbuf[:FIRST])
        return super()._recv_version()

    async def send_userauth_success(self) -> None:
        if self._owner.logged_in():
            await super().send_userauth_success()
        else:
            self.send_userauth_failure(True)

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        fits = await super().validate_public_key(username, key_data, msg, signature)
        if msg:
            fits = fits and _signature_algorithm(signature) in self._sig_algs
        return await self._owner.key_tried(_fingerprint(key_data), fits=fits, proven=bool(msg))

    async def _validate_openssh_certificate(self, username: str, cert: SSHOpenSSHCertificate) -> asyncssh.SSHKey | None:
        if username not in cert.principals or cert.options.get("force-command") not in SFTP_COMMANDS:
            return None
        try:
            keys.accepted(cert.key)
        except UspError:
            return None
        return await super()._validate_openssh_certificate(username, cert)

    def _process_service_asked(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if self._auth_in_progress and self._next_service is None:
            self._next_service = b"ssh-userauth"
        self._process_service_request(pkttype, pktid, packet)

    _packet_handlers = {**Announcing._packet_handlers, MSG_SERVICE_REQUEST: _process_service_asked}  # noqa: RUF012


class TargetConnection(ClientConnection):
    """We are the SSH client, and if our key is refused we go."""

    login_began = False
    """It has been shown a credential."""

    async def send_userauth_request(self, method: bytes, *args: bytes, **more: Any) -> None:
        self.login_began = self.login_began or method != b"none"
        await super().send_userauth_request(method, *args, **more)

    def _recv_version(self) -> bool:
        if bytes(self._inpbuf[: len(PENALISED)]) == PENALISED:
            self._force_close(penalised())
            return False
        return super()._recv_version()

    def _process_refusal(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        partial = packet.get_remaining_payload()[-1:] != b"\0"
        if self._auth is not None and self._auth._method == b"publickey" and not partial:  # type: ignore[attr-defined]
            self._force_close(asyncssh.PermissionDenied("the key was refused"))
            return True
        return self._process_userauth_failure(pkttype, pktid, packet)

    _packet_handlers = {**SSHConnection._packet_handlers, MSG_USERAUTH_FAILURE: _process_refusal}  # noqa: RUF012


def _signature_algorithm(signature: bytes) -> bytes:
    try:
        return SSHPacket(signature).get_string()
    except PacketDecodeError:
        return b""


def _fingerprint(key_data: bytes) -> str:
    """`SHA256:...`, as OpenSSH shows it; of a certificate, that of the certificate."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key_data).digest()).decode().rstrip("=")
