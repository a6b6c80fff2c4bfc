"""usp.ssh.lean: asyncssh is the same, but for what it costs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import socket

import asyncssh
import pytest
from asyncssh import auth, connection, packet
from asyncssh.constants import MSG_KEXINIT, MSG_USERAUTH_REQUEST
from asyncssh.logging import SSHLogger
from asyncssh.saslprep import SASLPrepError
from asyncssh.saslprep import saslprep as original
from hypothesis import given
from hypothesis import strategies as st

from usp.algorithms import Algorithms
from usp.ssh import connect, keys
from usp.ssh.connect import ClientConnection, ServerConnection
from usp.ssh.lean import AT_ONCE, Lean, LeanLogger, LeanPacket, run_through, saslprep, select_host_key_algs
from usp.ssh.options import Timing, partner_facing


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
    for way in ("log_sent_packet", "log_received_packet"):
        assert (
            inspect.getsource(getattr(packet.SSHPacketLogger, way).__closure__[0].cell_contents).count("_log_packet")
            == 1
        )
    assert SSHLogger._debug_level < 3
    logger = SSHLogger(logging.getLogger("asyncssh"), context="conn=1")
    assert (logger._logger.name, logger._context) == ("asyncssh", "conn=1")
    assert callable(asyncssh.SSHServerConnection.reload_config)


def taken(kind: type[packet.SSHPacket], data: bytes, ways: list[str]) -> list[object]:
    """What comes out, one after another, with what is left after each."""
    found: list[object] = []
    read = kind(data)
    for way in ways:
        try:
            found.append((getattr(read, f"get_{way}")(), read.get_remaining_payload()))
        except packet.PacketDecodeError as exc:  # which ends a connection
            return [*found, str(exc)]
    return found


@given(
    st.binary(max_size=40) | st.binary(max_size=20).map(packet.String),
    st.lists(st.sampled_from(["byte", "boolean", "uint32", "string", "namelist", "mpint", "uint64"]), max_size=6),
)
def test_packets_are_taken_apart_as_before(data: bytes, ways: list[str]) -> None:
    assert taken(LeanPacket, data, ways) == taken(packet.SSHPacket, data, ways)


def test_asyncssh_takes_ours_for_what_arrives() -> None:
    assert vars(connection)["SSHPacket"] is LeanPacket
    assert "packet = SSHPacket(payload)" in inspect.getsource(connection.SSHConnection._recv_packet)
    assert vars(packet.SSHPacket(b"abc")) == {"_packet": b"abc", "_idx": 0, "_len": 3}
    assert "return self._logger" in inspect.getsource(connection.SSHConnection.logger.fget)  # type: ignore[attr-defined]


def test_packets_are_told_of_to_who_asks(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(packet.SSHPacketHandler):
        logger = SSHLogger(logging.getLogger("asyncssh"), context="conn=1")

    with caplog.at_level(logging.DEBUG, "asyncssh"):
        for level in (2, 3):
            monkeypatch.setattr(SSHLogger, "_debug_level", level)
            Handler().log_sent_packet(1, 1, b"abc")
            Handler().log_received_packet(2, 1, packet.SSHPacket(b"abc"), "note")
    assert [message.split("\n")[0] for message in caplog.messages] == [
        "[conn=1, pktid=1] Sent packet type 1, 3 bytes",
        "[conn=1, pktid=1] Received packet type 2, 3 bytes (note)",
    ]


# --- what is said first ---


async def test_algorithms_are_offered_with_the_identification_and_once() -> None:
    options = partner_facing([keys.generate()[0]], Algorithms(), Timing(login_timeout=5.0))
    ours, theirs = socket.socketpair()
    serving = asyncio.ensure_future(connect.serve(ours, options, asyncssh.SSHServer))
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    said = await loop.sock_recv(theirs, 65536)
    identification, _, offer = said.partition(b"\r\n")
    assert identification == b"SSH-2.0-USP"
    assert (int.from_bytes(offer[:4], "big") + 4, offer[5]) == (len(offer), MSG_KEXINIT), "and nothing else"
    await loop.sock_sendall(theirs, b"SSH-2.0-peer\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.sock_recv(theirs, 65536), 0.1)
    theirs.close()
    with pytest.raises(asyncssh.ConnectionLost):
        await serving


def test_the_offer_is_made_where_asyncssh_thinks_that_it_makes_it() -> None:
    began = " ".join(inspect.getsource(connection.SSHConnection._recv_version).split())
    assert began.count("self._send_kexinit() self._kexinit_sent = True self._recv_handler = self._recv_pkthdr") == 1
    made = " ".join(inspect.getsource(connection.SSHConnection.connection_made).split())
    assert "self._connection_made() self._owner.connection_made(self)" in made
    assert "self._send_version()" in made


# --- connections leave their classes alone ---


def test_a_connection_is_numbered_without_a_change_of_its_class() -> None:
    before = connection.SSHConnection.next_conn
    assert ServerConnection._get_next_conn() + 1 == ClientConnection._get_next_conn()
    assert connection.SSHConnection.next_conn == before
    assert "self._get_next_conn()" in inspect.getsource(connection.SSHConnection.__init__)


# --- handlers that run through ---


async def test_a_coroutine_that_never_waits_has_run() -> None:
    done = []

    async def handler() -> None:
        done.append(await other())

    async def other() -> str:
        return "done"

    assert run_through(handler()) is True
    assert done == ["done"]


async def test_one_that_waits_goes_on_as_a_task() -> None:
    gates = [asyncio.get_running_loop().create_future() for _ in range(2)]
    seen: list[object] = []

    async def handler() -> None:
        seen.append(await gates[0])
        try:
            await gates[1]
        except LookupError as exc:
            seen.append(exc)
            raise

    task = asyncio.ensure_future(run_through(handler()))
    await asyncio.sleep(0)
    assert seen == []
    gates[0].set_result("first")
    await asyncio.sleep(0.01)
    gates[1].set_exception(failure := LookupError("second"))
    with pytest.raises(LookupError):
        await task
    assert seen == ["first", failure]


async def test_one_that_waits_can_be_cancelled() -> None:
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    seen: list[str] = []
    task = asyncio.ensure_future(run_through(handler()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert seen == ["cancelled"]


async def test_what_it_raises_is_raised() -> None:
    async def handler() -> None:
        raise asyncssh.ProtocolError("no")

    with pytest.raises(asyncssh.ProtocolError):
        run_through(handler())


def test_what_runs_at_once_are_coroutines_that_are_awaited_before_the_next_packet() -> None:
    assert frozenset({MSG_KEXINIT, MSG_USERAUTH_REQUEST}) == AT_ONCE
    assert inspect.iscoroutinefunction(connection.SSHConnection._process_kexinit)
    assert inspect.iscoroutinefunction(connection.SSHConnection._finish_userauth)
    receiving = inspect.getsource(connection.SSHConnection._recv_packet)
    assert "result = handler.process_packet(pkttype, seq, packet)" in receiving
    assert "if inspect.isawaitable(result):" in receiving


# --- what is asked and made once ---


def test_what_is_awaitable() -> None:
    async def coroutine() -> None: ...

    found = coroutine()
    module = vars(connection)["inspect"]
    asked = module.isawaitable
    assert [asked(each) for each in (None, True, False, 0, "", found)] == [False] * 5 + [True]
    found.close()
    assert module.getsource is inspect.getsource, "all else is the module's own"
    assert set(re.findall(r"\binspect\.(\w+)", inspect.getsource(connection))) == {"isawaitable"}


def test_host_key_algorithms_are_the_same_for_the_same_options() -> None:
    one = select_host_key_algs(["ssh-ed25519"], (), [b"ssh-rsa"])
    assert one == [b"ssh-ed25519"]
    assert select_host_key_algs(["ssh-ed25519"], (), [b"ssh-rsa"]) is one
    assert select_host_key_algs((), (), [b"ssh-rsa"]) == [b"ssh-rsa"]
    with pytest.raises(ValueError, match="No host key"):
        select_host_key_algs([], (), [b"ssh-rsa"])
    assert connection._select_host_key_algs is select_host_key_algs


def judged(trusted: set[asyncssh.SSHKey], revoked: set[asyncssh.SSHKey], data: bytes) -> object:
    """By ours, which falls back to asyncssh's."""

    class Ours(Lean, connection.SSHConnection):
        _owner = asyncssh.SSHClient()

        def __init__(self) -> None:
            self._trusted_host_keys = trusted
            self._revoked_host_keys = revoked

    return Ours()._validate_host_key("host", "192.0.2.1", 22, data)


def test_a_host_key_is_trusted_as_before() -> None:
    pinned, other = (keys.parse_public(keys.generate()[1]) for _ in range(2))
    assert judged({other, pinned}, set(), pinned.public_data) is pinned
    for trusted, revoked, data, why in (
        ({other}, set(), pinned.public_data, "not trusted"),
        ({pinned}, {pinned}, pinned.public_data, "revoked"),
        (set(), set(), pinned.public_data, "not trusted"),
        ({pinned}, set(), pinned.public_data + b"x", "decode"),
        ({pinned}, set(), b"", "decode"),
    ):
        with pytest.raises(ValueError, match=why):
            judged(trusted, revoked, data)
