"""What asyncssh leaves out of logins, added in one place. It stands on the internals that the tests pin.

Towards partners: partial success (RFC 4252, 5.1), so that a login may take several methods; the proof of a key is told
apart from the mere question about it; certificates must name their user (asyncssh lets one without names be
anybody's); no signatures but those of the node's profile; whoever asks for the login service again before each attempt
(paramiko does) gets it, as from OpenSSH; key exchanges, and requests that lead nowhere, are bounded. Towards targets: a
key that was refused is not followed by anything weaker, and what got in the last time is tried first.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, TypeAlias

import asyncssh
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_KEXINIT, MSG_SERVICE_REQUEST, MSG_USERAUTH_FAILURE, MSG_USERAUTH_SUCCESS
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket
from asyncssh.public_key import SSHOpenSSHCertificate

from usp.errors import UspError
from usp.ssh import keys
from usp.ssh.connect import ClientConnection
from usp.ssh.hostkeys import Announcing
from usp.ssh.kexinit import PENALISED, penalised

FIRST: Final = 32
"""Bytes that are kept to say what it was if it was not SSH."""
MAX_REFUSED: Final = 20
"""Requests to log in that may fail on one connection, of any kind: also those that nobody judges, such as `none`."""
EXCHANGES: Final = 100
"""Key exchanges that a partner may begin at once; each costs us a signature."""
EXCHANGES_PER_SECOND: Final = 10.0
"""How fast they come back."""
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

    def too_many_refused(self) -> None:
        """Of its requests to log in `MAX_REFUSED` have failed: end it."""
        raise NotImplementedError


class PartnerConnection(Announcing):
    """We are the SSH server, and a login may take several methods."""

    _owner: LoginServer
    first_words = b""
    """What came first; from who speaks SSH it is an identification."""
    _refused_logins = 0
    _exchanges = float(EXCHANGES)
    _exchanged_at = 0.0

    def _recv_version(self) -> bool:
        self.first_words = self.first_words or bytes(self._inpbuf[:FIRST])
        return super()._recv_version()

    async def send_userauth_success(self) -> None:
        if self._owner.logged_in():
            await super().send_userauth_success()
        else:
            self.send_userauth_failure(True)

    def send_userauth_failure(self, partial_success: bool) -> None:
        super().send_userauth_failure(partial_success)
        self._refused_logins += not partial_success
        if self._refused_logins == MAX_REFUSED:
            self._owner.too_many_refused()

    def _process_offer(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        """A KEXINIT: the first, or the answer to ours, or a partner that wants new keys."""
        if self._session_id and not self._kexinit_sent:
            self._pay_for_exchange()
        return self._process_kexinit(pkttype, pktid, packet)

    def _pay_for_exchange(self) -> None:
        if not self._auth_complete:
            raise asyncssh.ProtocolError("new keys before the login is over")
        now = self._loop.time()
        earned = (now - self._exchanged_at) * EXCHANGES_PER_SECOND
        self._exchanges = min(self._exchanges + earned, EXCHANGES) - 1
        self._exchanged_at = now
        if self._exchanges < 0:
            raise asyncssh.ProtocolError("too many key exchanges")

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

    _packet_handlers = {  # noqa: RUF012
        **Announcing._packet_handlers,
        MSG_SERVICE_REQUEST: _process_service_asked,
        MSG_KEXINIT: _process_offer,
    }


Habits: TypeAlias = dict[tuple[bytes, ...], bytes]
"""Methods that we have something to offer for -> the one by which alone the last login got in."""


class LoginClient(asyncssh.SSHClient):
    """The owner of a `TargetConnection`. `habits`: of the target, and what is learnt of them."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits


class TargetConnection(ClientConnection):
    """We are the SSH client, and if our key is refused we go.

    asyncssh asks which methods there are (RFC 4252, 5.2), and then whether a key would do (7), a round trip each. We
    begin with what got in the last time, and show the one key that we have: the answer to that says as much.
    """

    _owner: LoginClient
    _began_with = b""
    """The method by which it was shown a credential first."""
    _assumed = b""
    """The method that it is expected to take."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._assumed = self._owner.habits.get(self._offers, b"")
        if self._assumed:
            self._auth_methods = [self._assumed]

    @property
    def login_began(self) -> bool:
        """It has been shown a credential."""
        return bool(self._began_with)

    @property
    def _offers(self) -> tuple[bytes, ...]:
        return tuple(self._preferred_auth or ())

    async def send_userauth_request(self, method: bytes, *args: bytes, **more: Any) -> None:
        if method != b"none":
            self._began_with = self._began_with or method
        if method == b"publickey" and "key" in more and more["key"] is None:
            args, more = (Boolean(True), *args[1:]), {"key": self._auth._keypair, "trivial": False}  # type: ignore[union-attr]
        await super().send_userauth_request(method, *args, **more)

    def _recv_version(self) -> bool:
        if bytes(self._inpbuf[: len(PENALISED)]) == PENALISED:
            self._force_close(penalised())
            return False
        return super()._recv_version()

    def _process_refusal(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        tried, partial = self._tried, packet.get_remaining_payload()[-1:] != b"\0"
        assumed, self._assumed = self._assumed, b""
        if assumed:
            self._owner.habits.pop(self._offers, None)
        if assumed and not partial and assumed not in _offered(packet):
            self._password = self._options.password  # it was not looked at: other methods may have it
        elif tried == b"publickey" and not partial:
            self._force_close(asyncssh.PermissionDenied("the key was refused"))
            return True
        return self._process_userauth_failure(pkttype, pktid, packet)

    def _process_success(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        if self._began_with and self._tried == self._began_with:
            self._owner.habits[self._offers] = self._began_with
        return self._process_userauth_success(pkttype, pktid, packet)

    @property
    def _tried(self) -> bytes:
        """The method whose answer comes."""
        return getattr(self._auth, "_method", b"")

    def _process_hostkeys_00_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
        """asyncssh makes a task to find out that nobody wants to hear of the target's other keys."""
        self._report_global_response(False)

    _packet_handlers = {  # noqa: RUF012
        **SSHConnection._packet_handlers,
        MSG_USERAUTH_FAILURE: _process_refusal,
        MSG_USERAUTH_SUCCESS: _process_success,
    }


def _offered(packet: SSHPacket) -> list[bytes]:
    """The methods that a refusal names; reading it takes nothing from the packet."""
    return list(SSHPacket(packet.get_remaining_payload()).get_namelist())


def _signature_algorithm(signature: bytes) -> bytes:
    try:
        return SSHPacket(signature).get_string()
    except PacketDecodeError:
        return b""


def _fingerprint(key_data: bytes) -> str:
    """`SHA256:...`, as OpenSSH shows it; of a certificate, that of the certificate."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key_data).digest()).decode().rstrip("=")
