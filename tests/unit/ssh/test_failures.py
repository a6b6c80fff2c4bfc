from __future__ import annotations

import errno

import asyncssh
import pytest

from usp.errors import CODES, UspError
from usp.ssh.failures import OUTCOMES, is_probe, link_failure, open_refusal, outcome, said, target_failure
from usp.status import Outcome

KEX = "No matching {} algorithm found, sent a and received b"


def test_the_outcome_table_is_total() -> None:
    of_sessions = {code for code in CODES if code.split(".")[0] in ("target", "tunnel", "sftp")} | {"internal"}
    assert set(OUTCOMES) == of_sessions


def test_other_codes_are_bugs_in_a_session() -> None:
    assert outcome(UspError("tunnel.down")) is Outcome.TUNNEL_DOWN
    assert outcome(UspError("database.schema")) is Outcome.INTERNAL


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncssh.HostKeyNotVerifiable("Host key is not trusted"), "target.host_key_mismatch"),
        (asyncssh.PermissionDenied("Permission denied"), "target.auth_denied"),
        (asyncssh.KeyExchangeFailed(KEX.format("server host key")), "target.host_key_mismatch"),
        (asyncssh.KeyExchangeFailed(KEX.format("encryption")), "target.algorithms"),
        (asyncssh.ConnectionLost("Connection lost"), "target.refused"),
        (asyncssh.ProtocolError("Bad"), "target.refused"),
        (asyncssh.DisconnectError(11, "bye"), "target.refused"),
        (TimeoutError(), "target.unreachable"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "target.unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "target.unreachable"),
        (asyncssh.ChannelOpenError(2, "SSH connection closed"), "tunnel.down"),
        (asyncssh.ChannelOpenError(2, "target.unreachable: h:22: Connection refused"), "target.unreachable"),
        (asyncssh.ChannelOpenError(1, "tunnel.not_allowed: h:22 is not on the allow list"), "tunnel.not_allowed"),
        (asyncssh.ChannelOpenError(1, "internal: gotcha"), "target.refused"),
        (UspError("target.no_sftp"), "target.no_sftp"),
        (KeyError("?"), "internal"),
    ],
)
def test_failures_at_the_target(error: Exception, code: str) -> None:
    assert target_failure(error).code == code
    expected = code if isinstance(error, UspError) else "tunnel.down"
    assert target_failure(error, link_lost=True).code == expected


@pytest.mark.parametrize("code", ["target.unreachable", "tunnel.not_allowed"])
def test_what_a_client_says_comes_back_as_said(code: str) -> None:
    back = target_failure(open_refusal(UspError(code, "because: of this")))
    assert (back.code, back.message) == (code, "because: of this")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, "tunnel.down", "closed"),
        (UspError("tunnel.hello_refused", "no"), "tunnel.hello_refused", "no"),
        (asyncssh.HostKeyNotVerifiable("x"), "tunnel.key_mismatch", "none of the configured"),
        (asyncssh.PermissionDenied("x"), "tunnel.key_mismatch", "does not accept"),
        (asyncssh.KeyExchangeFailed(KEX.format("server host key")), "tunnel.key_mismatch", "another type"),
        (asyncssh.KeyExchangeFailed(KEX.format("MAC")), "tunnel.down", "MAC"),
        (TimeoutError(), "tunnel.down", "too long"),
        (asyncssh.ConnectionLost("Connection lost"), "tunnel.down", "Connection lost"),
    ],
)
def test_failures_of_a_link(error: Exception | None, code: str, words: str) -> None:
    failure = link_failure(error)
    assert failure.code == code
    assert words in failure.message


def test_probes() -> None:
    assert is_probe(None)
    assert is_probe(ConnectionResetError())
    assert is_probe(asyncssh.ConnectionLost("x"))
    assert not is_probe(asyncssh.PermissionDenied("x"))


def test_what_is_said_is_short_and_printable() -> None:
    assert said(ValueError("a\nb\x1b[31m" + "x" * 500)) == "a?b?[31m" + "x" * 192
    assert said(ValueError()) == "ValueError"
