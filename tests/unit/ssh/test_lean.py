"""usp.ssh.lean: asyncssh is the same, but for what it costs."""

from __future__ import annotations

import logging

import asyncssh
import pytest
from asyncssh import auth, connection, packet
from asyncssh.logging import SSHLogger
from asyncssh.saslprep import SASLPrepError
from asyncssh.saslprep import saslprep as original
from hypothesis import given
from hypothesis import strategies as st

from usp.ssh.connect import ClientConnection, ServerConnection
from usp.ssh.lean import LeanLogger, saslprep


def prepared(by: object, text: str) -> str | None:
    try:
        return by(text)  # type: ignore[operator, no-any-return]
    except SASLPrepError:
        return None


@given(st.text(max_size=20) | st.text(st.characters(max_codepoint=0x7F), max_size=20))
def test_names_and_passwords_are_prepared_as_before(text: str) -> None:
    assert prepared(saslprep, text) == prepared(original, text)


def test_all_of_ascii_is_prepared_as_before() -> None:
    for code in range(0x80):
        assert prepared(saslprep, chr(code)) == prepared(original, chr(code))


def test_asyncssh_uses_ours() -> None:
    assert auth.saslprep is saslprep  # type: ignore[attr-defined]
    assert connection.saslprep is saslprep  # type: ignore[attr-defined]


def test_only_wanted_messages_are_made(caplog: pytest.LogCaptureFixture) -> None:
    class Told:
        times = 0

        def __str__(self) -> str:
            Told.times += 1
            return "told"

    logger = LeanLogger(logging.getLogger("asyncssh"), context="conn=1").get_child(context="chan=0")
    with caplog.at_level(logging.INFO, "asyncssh"):
        logger.debug1("%s", [Told()])
        assert Told.times == 0
        logger.info("%s", [Told()])
    assert caplog.messages == ["[conn=1, chan=0] told"]


def test_the_internals_that_it_stands_on() -> None:
    for kind in (ClientConnection, ServerConnection):
        assert issubclass(kind, connection.SSHConnection)
    assert callable(packet.SSHPacketLogger._log_packet)
    assert SSHLogger._debug_level < 3
    logger = SSHLogger(logging.getLogger("asyncssh"), context="conn=1")
    assert (logger._logger.name, logger._context) == ("asyncssh", "conn=1")
    assert callable(asyncssh.SSHServerConnection.reload_config)
