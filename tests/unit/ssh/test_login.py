"""The internals of asyncssh that `usp.ssh.login` stands on, one by one; what it does with them: test_admission."""

from __future__ import annotations

import inspect
import logging
from types import SimpleNamespace

import asyncssh
import pytest
from asyncssh import auth, connection
from asyncssh.constants import MSG_KEXINIT, MSG_SERVICE_REQUEST, MSG_USERAUTH_FAILURE, MSG_USERAUTH_SUCCESS
from asyncssh.packet import Boolean, NameList, SSHPacket, String

from usp.algorithms import Algorithms
from usp.ssh import keys
from usp.ssh.login import (
    EXCHANGES,
    LoginClient,
    LoginServer,
    PartnerConnection,
    TargetConnection,
    _fingerprint,
    _signature_algorithm,
)
from usp.ssh.options import Timing, partner_facing, target_facing


def source(of: object) -> str:
    return " ".join(inspect.getsource(of).split())  # type: ignore[arg-type]


def test_all_that_was_accepted_goes_through_send_userauth_success() -> None:
    assert "await self._conn.send_userauth_success()" in source(auth.ServerAuth.send_success)
    for handler in (auth._ServerPasswordAuth, auth._ServerPublicKeyAuth, auth._ServerKbdIntAuth):
        assert "await self.send_success()" in source(handler)
        assert "_auth_complete" not in source(handler)
    assert source(connection.SSHConnection).count("MSG_USERAUTH_SUCCESS)") == 1
    assert connection.SSHServerConnection.send_userauth_success is connection.SSHConnection.send_userauth_success


def test_failure_names_the_methods_that_can_go_on_and_takes_the_flag() -> None:
    text = source(connection.SSHConnection.send_userauth_failure)
    assert "get_supported_server_auth_methods" in text
    assert "Boolean(partial_success)" in text
    assert "self._auth = None" in text


def test_a_key_is_judged_by_validate_public_key_with_and_without_proof() -> None:
    text = source(auth._ServerPublicKeyAuth._start)
    assert "await self._conn.validate_public_key(self._username, key_data, msg, signature)" in text
    assert "msg = packet.get_consumed_payload()" in text
    assert "msg = b''" in text
    validate = source(connection.SSHServerConnection.validate_public_key)
    assert "key.verify(String(self._session_id) + msg, signature)" in validate
    assert "_validate_client_certificate" in validate


def test_certificates_come_by_our_check() -> None:
    text = source(connection.SSHServerConnection._validate_client_certificate)
    assert "await self._validate_openssh_certificate(" in text
    inner = source(connection.SSHServerConnection._validate_openssh_certificate)
    assert "self._owner.validate_ca_key(username, cert.signing_key)" in inner
    assert "cert.validate(CERT_TYPE_USER" in inner
    assert "source-address" in inner


def test_another_user_name_is_announced() -> None:
    text = source(connection.SSHConnection._process_userauth_request)
    assert "if username != self._username" in text
    assert "auth.cancel()" in text
    assert ".begin_auth(self._username)" in source(connection.SSHConnection._finish_userauth)


def test_the_clients_packet_table_is_looked_up_per_class() -> None:
    handlers = connection.SSHConnection._packet_handlers
    assert handlers[MSG_USERAUTH_FAILURE] is connection.SSHConnection._process_userauth_failure
    assert TargetConnection._packet_handlers[MSG_USERAUTH_FAILURE] is TargetConnection._process_refusal
    packet = SSHPacket(NameList([b"password"]) + Boolean(True))
    assert packet.get_remaining_payload()[-1:] == b"\1"
    assert packet.get_namelist() == [b"password"], "looking does not take"
    assert "self._method = method" in source(auth.ClientAuth)


def test_a_login_begins_with_the_method_that_we_say() -> None:
    assert "self._auth_methods = [b'none']" in source(connection.SSHConnection.__init__)
    assert "lookup_client_auth(self, self._auth_methods[0])" in source(connection.SSHClientConnection.try_next_auth)
    assert ".try_next_auth()" in source(connection.SSHConnection._process_service_accept)
    made = source(connection.SSHClientConnection.__init__)
    assert "self._password = options.password" in made
    assert "self._preferred_auth = [method.encode('ascii') for method in options.preferred_auth]" in made
    handlers = connection.SSHConnection._packet_handlers
    assert handlers[MSG_USERAUTH_SUCCESS] is connection.SSHConnection._process_userauth_success
    assert TargetConnection._packet_handlers[MSG_USERAUTH_SUCCESS] is TargetConnection._process_success


def test_a_question_about_a_key_is_told_by_its_arguments() -> None:
    asking = source(auth._ClientPublicKeyAuth._start)
    assert "self._keypair = await self._conn.public_key_auth_requested()" in asking
    assert "await self.send_request(Boolean(False), String(self._keypair.algorithm)," in asking
    signing = source(auth._ClientPublicKeyAuth._send_signed_request)
    assert "self.send_request(Boolean(True), String(self._keypair.algorithm)," in signing
    assert "key=self._keypair, trivial=False)" in signing
    assert "self._conn.send_userauth_request(self._method, *args, key=key, trivial=trivial)" in source(
        auth.ClientAuth.send_request
    )


@pytest.mark.parametrize(
    ("offered", "partial", "left"),
    [(b"keyboard-interactive", False, "secret"), (b"keyboard-interactive", True, None), (b"password", False, None)],
)
def test_a_password_is_kept_for_another_method_if_nobody_looked_at_it(
    offered: bytes, partial: bool, left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TargetConnection, "_process_userauth_failure", lambda *args: True)
    made = object.__new__(TargetConnection)
    made._owner = LoginClient({(b"keyboard-interactive", b"password"): b"password"})
    made._preferred_auth = [b"keyboard-interactive", b"password"]
    made._assumed, made._auth, made._password = b"password", None, None
    made._options = target_facing([keys.generate()[1]], Algorithms(), Timing())
    made._options.password = "secret"
    made._process_refusal(MSG_USERAUTH_FAILURE, 0, SSHPacket(NameList([b"publickey", offered]) + Boolean(partial)))
    assert made._password == left
    assert made._owner.habits == {}


def test_other_host_keys_of_targets_are_nobodys_news() -> None:
    name = "_process_hostkeys_00_at_openssh_dot_com_global_request"
    assert name in vars(connection.SSHClientConnection)
    assert name in vars(TargetConnection)
    unheard = source(connection.SSHClientConnection._finish_hostkeys)
    assert "if not self._server_host_keys_handler:" in unheard
    assert "self._report_global_response(False) return" in unheard


def test_the_login_service_may_be_asked_for_again_until_the_login_is_over() -> None:
    handlers = connection.SSHConnection._packet_handlers
    assert handlers[MSG_SERVICE_REQUEST] is connection.SSHConnection._process_service_request
    assert "if service != self._next_service: raise" in source(connection.SSHConnection._process_service_request)
    success = source(connection.SSHConnection.send_userauth_success)
    assert "self._auth_in_progress = False" in success


def test_the_signature_names_its_algorithm() -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    assert _signature_algorithm(key.sign(b"data", b"rsa-sha2-512")) == b"rsa-sha2-512"
    assert _signature_algorithm(key.sign(b"data", b"ssh-rsa")) == b"ssh-rsa"
    assert _signature_algorithm(b"") == b""


def test_the_fingerprint_is_the_usual_one() -> None:
    _, line = keys.generate()
    key = keys.parse_public(line)
    assert _fingerprint(key.public_data) == keys.fingerprint(key)
    assert String(b"x") == b"\0\0\0\1x"


class Server(LoginServer):
    """Knows one key."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self.key = key
        self.tried: list[tuple[bool, bool]] = []

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == self.key

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == self.key

    async def key_tried(self, fingerprint: str, *, fits: bool, proven: bool) -> bool:
        self.tried.append((fits, proven))
        return fits


def partner_connection(key: asyncssh.SSHKey) -> tuple[PartnerConnection, Server]:
    made = object.__new__(PartnerConnection)
    made._owner = server = Server(key.convert_to_public())
    made._session_id = b"session"
    made._sig_algs = partner_facing([keys.generate()[0]], Algorithms(), Timing()).signature_algs
    made._authorized_client_keys = None
    return made, server


@pytest.mark.parametrize(
    ("algorithm", "accepted"), [(b"rsa-sha2-256", True), (b"rsa-sha2-512", True), (b"ssh-rsa", False)]
)
async def test_no_sha1_signature_proves_a_key(algorithm: bytes, accepted: bool) -> None:
    mine = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    connection, server = partner_connection(mine)
    signature = mine.sign(String(b"session") + b"message", algorithm)
    assert await connection.validate_public_key("u", mine.public_data, b"", b"")
    assert await connection.validate_public_key("u", mine.public_data, b"message", signature) is accepted
    assert not await connection.validate_public_key("u", mine.public_data, b"another", signature)
    assert not await connection.validate_public_key("u", b"garbage", b"", b"")
    assert server.tried == [(True, False), (accepted, True), (False, True), (False, False)]


async def test_a_certified_key_must_be_good_enough() -> None:
    ca = asyncssh.generate_private_key("ssh-ed25519")
    connection, _ = partner_connection(ca)
    for size, accepted in ((1024, False), (2048, True)):
        weak = asyncssh.generate_private_key("ssh-rsa", key_size=size)
        certificate = ca.generate_user_certificate(weak, "id", principals=["u"])
        assert await connection.validate_public_key("u", certificate.public_data, b"", b"") is accepted


class Asker(PartnerConnection):
    """It keeps what it would send."""

    def __init__(self) -> None:
        self.owner = self._owner = Patience()
        self.now, self._loop = 0.0, SimpleNamespace(time=lambda: self.now)  # type: ignore[assignment]
        self._session_id, self._kexinit_sent, self._auth_complete = b"x", False, True
        self._logger = logging.getLogger("asker")  # type: ignore[assignment]
        self._auth = None
        self.sent = 0

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        self.sent += 1

    def _process_kexinit(self, *args: object) -> str:  # type: ignore[override]
        return "begun"

    def offered(self) -> object:
        return PartnerConnection._packet_handlers[MSG_KEXINIT](self, MSG_KEXINIT, 0, SSHPacket(b""))


class Patience(LoginServer):
    def __init__(self) -> None:
        self.enough = 0

    def too_many_refused(self) -> None:
        self.enough += 1


def test_key_exchanges_are_bounded_but_not_those_of_ours() -> None:
    """What a stranger sees of it: tests/attacks."""
    asker = Asker()
    assert [asker.offered() for _ in range(EXCHANGES)] == ["begun"] * EXCHANGES
    asker._kexinit_sent = True
    assert asker.offered() == "begun", "the answer to ours costs nothing"
    asker._kexinit_sent = False
    with pytest.raises(asyncssh.ProtocolError, match="too many key exchanges"):
        asker.offered()
    asker.now = 60.0
    assert asker.offered() == "begun", "time gives them back"


def test_no_key_exchange_but_the_first_before_the_login_is_over() -> None:
    asker = Asker()
    asker._auth_complete = False
    with pytest.raises(asyncssh.ProtocolError, match="before the login is over"):
        asker.offered()
    asker._session_id = b""
    assert asker.offered() == "begun"
