"""Sessions with real SSH on both sides: transfers, refusals, and every way to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.tunnel_pair import client, gate, until
from tests.unit.server.balancer import balancer
from tests.unit.server.gateway import OTHER_LINE, PASSWORD, USER, Target, limits, rule, serving
from usp import metrics
from usp.policy import Mode, OpClass, Policy, Window, WindowAccess
from usp.server import proxy
from usp.server.session import AWAY, MAX_CHANNELS
from usp.snapshot import PathSpec
from usp.status import Outcome


async def test_what_is_put_and_got_is_equal(target: Target) -> None:
    data = os.urandom(3_000_000)
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            async with sftp.open("/in.bin", "wb") as file:
                await file.write(data)
            assert (target.root / "in.bin").read_bytes() == data
            async with sftp.open("/in.bin", "rb") as file:
                got: object = await file.read()
            assert got == data
            await sftp.rename("/in.bin", "/out.bin")
        assert await gateway.outcome() is Outcome.COMPLETED
        assert target.logins == 1
        assert [fact["event"] for fact in gateway.facts] == [
            "session.started",
            "login",
            "file.closed",
            "file.closed",
            "file.rename",
            "session.ended",
        ]
        put, fetched = gateway.told("file.closed")
        assert (put["path"], put["bytes_written"], put["outcome"]) == ("/in.bin", len(data), "ok")
        assert (put["direction"], put["ranges"], fetched["direction"]) == ("upload", "complete", "download")
        for told in (put, fetched):
            waited = sum(told.get(f"waited_{side}", 0.0) for side in ("partner", "target", "tunnel", "gateway"))
            assert abs(waited - told["seconds"]) < 0.001
            assert (told["rule"], told["configuration"], told["target"]) == ("rule", 1, "target")
            assert len({told["ssh_session"], told["target_ssh_session"]}) == 2
            assert all(len(told[id]) >= 64 for id in ("ssh_session", "target_ssh_session"))
            assert "AsyncSSH" in told["client_version"]
            for used in (told["algorithms"], told["target_algorithms"]):
                kex, cipher, *_ = used.split()
                assert kex.startswith(("curve25519", "mlkem", "sntrup", "ecdh", "diffie"))
                assert cipher.startswith(("aes", "chacha20"))
            assert "sha256" not in told
        assert fetched["bytes_read"] == len(data)
        assert gateway.told("file.rename")[0]["to"] == "/out.bin"
        ended = gateway.told("session.ended")[0]
        assert (ended["outcome"], ended["username"], ended["listener"]) == ("completed", USER, "partners")
        assert ended["bytes_in"] > len(data) < ended["bytes_out"]
        assert PASSWORD not in str(gateway.facts)
    assert not target.connections


async def test_a_wrong_password_is_an_ordinary_failure(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(target.port) as gateway:
        with pytest.raises(asyncssh.PermissionDenied):
            async with gateway.partner("wrong"):
                pass
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert target.logins == 1
        assert [fact["outcome"] for fact in gateway.told("login")] == ["target_denied"]
        assert "wrong" not in str(gateway.facts)
    assert "WARN" not in capsys.readouterr().err


async def test_too_many_wrong_passwords(target: Target) -> None:
    async with serving(target.port) as gateway:

        class Stubborn(asyncssh.SSHClient):
            def password_auth_requested(self) -> str:
                return "wrong"

        with pytest.raises(asyncssh.DisconnectError, match="too many"):
            await asyncssh.connect(
                "127.0.0.1", gateway.port, config=None, known_hosts=None, client_factory=Stubborn, username=USER
            )
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert target.logins == 6


async def test_an_empty_password_does_not_reach_the_target(target: Target) -> None:
    async with serving(target.port) as gateway:
        with pytest.raises(asyncssh.PermissionDenied):
            async with gateway.partner(""):
                pass
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert target.logins == 0


async def test_the_target_is_down(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(unused_tcp_port) as gateway:
        with pytest.raises(asyncssh.DisconnectError, match=AWAY):
            async with gateway.partner():
                pass
        assert await gateway.outcome() is Outcome.TARGET_UNREACHABLE
        assert gateway.told("login")[0]["outcome"] == "target_unreachable"
    told = [line for line in capsys.readouterr().err.splitlines() if "WARN" in line]
    assert len(told) == 1
    assert "code=target.unreachable" in told[0]


async def test_another_host_key(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(target.port, pinned=OTHER_LINE) as gateway:
        with pytest.raises(asyncssh.DisconnectError, match=AWAY):
            async with gateway.partner():
                pass
        assert await gateway.outcome() is Outcome.HOST_KEY_MISMATCH
        assert target.logins == 0
    assert "code=target.host_key_mismatch" in capsys.readouterr().err


@pytest.mark.parametrize("header", [proxy.LOCAL, b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 22\r\n"])
async def test_a_balancer_whose_headers_nobody_expects_is_told_of(
    header: bytes, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(target.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(header + b"SSH-2.0-partner\r\n")
        await reader.read()
        writer.close()
        assert await gateway.outcome() is Outcome.PROTOCOL_ERROR
    assert "proxy.unexpected" in capsys.readouterr().err


async def test_no_tunnel_link(target: Target) -> None:
    async with serving(target.port, path=PathSpec(tunnel="t1", client="c1")) as gateway:
        with pytest.raises(asyncssh.DisconnectError, match=AWAY):
            async with gateway.partner():
                pass
        assert await gateway.outcome() is Outcome.TUNNEL_DOWN


async def test_through_a_tunnel_until_its_link_is_lost(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    async with gate() as tunnel, client(tunnel.port) as linked:
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        path = PathSpec(tunnel="t1", client="client-1")
        async with serving(target.port, path=path, link=tunnel.link) as gateway:
            async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
                data = os.urandom(1_000_000)
                async with sftp.open("/far", "wb") as file:
                    await file.write(data)
                assert (target.root / "far").read_bytes() == data
                await linked.aclose()
                await partner.wait_closed()
            assert await gateway.outcome() is Outcome.TUNNEL_DOWN
    assert "code=tunnel.down" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["directly", "through_link"])
async def test_a_target_that_asks_for_it_is_told_the_partners_address(way: str, target: Target) -> None:
    async with balancer(target.port) as front, gate() as tunnel, client(tunnel.port):
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        path = PathSpec(tunnel="t1", client="client-1") if way == "through_link" else None
        async with serving(front.port, path=path, link=tunnel.link, send_proxy_v2=True) as gateway:
            async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
                assert await sftp.realpath(".") == "/"
                assert front.sources == [partner.get_extra_info("sockname")]
            await gateway.outcome()
        async with serving(front.port, path=path, link=tunnel.link) as gateway:
            with pytest.raises(asyncssh.DisconnectError, match=AWAY):
                async with gateway.partner():
                    pass
            await gateway.outcome()
    assert front.wrong == ["it sent no PROXY header"], "it is off if nobody asks for it"


async def test_what_the_proxy_client_does_not_allow(target: Target) -> None:
    async with gate() as tunnel, client(tunnel.port, allow=()):
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        path = PathSpec(tunnel="t1", client="client-1")
        async with serving(target.port, path=path, link=tunnel.link) as gateway:
            with pytest.raises(asyncssh.DisconnectError, match=AWAY):
                async with gateway.partner():
                    pass
            assert await gateway.outcome() is Outcome.TARGET_UNREACHABLE


async def test_a_target_without_sftp(tmp_path: Path) -> None:
    bare = Target(tmp_path)
    await bare.start(sftp=False)
    try:
        async with serving(bare.port) as gateway:
            async with gateway.partner() as partner:
                with pytest.raises(asyncssh.ChannelOpenError):
                    await partner.start_sftp_client()
            assert await gateway.outcome() is Outcome.TARGET_DENIED
    finally:
        await bare.stop()


async def test_several_channels_over_one_target_connection(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            clients = [await partner.start_sftp_client() for _ in range(MAX_CHANNELS)]
            with pytest.raises(asyncssh.ChannelOpenError, match="too many"):
                await partner.start_sftp_client()
            await asyncio.gather(*(client.mkdir(f"/d{n}") for n, client in enumerate(clients)))
            clients[0].exit()
            await clients[0].wait_closed()
            async with partner.start_sftp_client() as again:
                assert len(await again.glob("/d*")) == MAX_CHANNELS
            assert (len(target.connections), target.logins) == (1, 1)
            for client in clients[1:]:
                client.exit()
                await client.wait_closed()
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_the_target_dies_in_the_middle(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("/half", "wb")
            await file.write(b"x" * 100_000)
            next(iter(target.connections)).abort()
            await partner.wait_closed()
            with pytest.raises((asyncssh.Error, OSError)):
                await file.write(b"x" * 100_000)
        assert await gateway.outcome() is Outcome.TARGET_CLOSED
        closed = gateway.told("file.closed")[0]
        assert closed["outcome"] == "unfinished"
    assert "code=target.closed" in capsys.readouterr().err


async def test_the_partner_vanishes_in_the_middle(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            sftp = await partner.start_sftp_client()
            file = await sftp.open("/half", "wb")
            await file.write(b"x" * 100_000)
            partner.abort()
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED
        assert gateway.told("session.ended")[0]["outcome"] == "partner_closed"
    assert not target.connections


async def test_nobody_but_a_partner_who_looks(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner():
            pass
        assert await gateway.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("reads", [True, False])
async def test_a_banner_probe_is_no_error(target: Target, reads: bool, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(target.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        if reads:
            assert (await reader.readline()).startswith(b"SSH-2.0-")
        writer.close()
        await writer.wait_closed()
        assert await gateway.outcome() is Outcome.PROBE
        assert gateway.facts == []
    assert capsys.readouterr().err == ""


async def test_a_reset_is_a_probe_too(target: Target) -> None:
    async with serving(target.port) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert await gateway.outcome() is Outcome.PROBE


async def test_whoever_speaks_no_ssh(target: Target) -> None:
    async with serving(target.port) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert await gateway.outcome() is Outcome.PROTOCOL_ERROR


async def test_too_slow_to_log_in(target: Target) -> None:
    async with serving(target.port, limits(login=0.1)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert await gateway.outcome() is Outcome.LIMIT


async def test_idle(target: Target) -> None:
    async with serving(target.port, limits(idle=0.2)) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            for _ in range(4):
                await asyncio.sleep(0.1)
                await sftp.stat("/")
            await partner.wait_closed()
        assert await gateway.outcome() is Outcome.IDLE


async def test_a_session_may_last_so_long_however_busy(target: Target) -> None:
    async with serving(target.port, replace(limits(), session=0.3)) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            with contextlib.suppress(asyncssh.Error):
                for _ in range(500):
                    await sftp.stat("/")
                    await asyncio.sleep(0.01)
            await partner.wait_closed()
        assert await gateway.outcome() is Outcome.LIMIT


@pytest.mark.parametrize("outcome", [Outcome.DRAINED, Outcome.KILLED])
async def test_ended_from_outside(target: Target, outcome: Outcome) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            await sftp.stat("/")
            gateway.live[0].end(outcome)
            gateway.live[0].end(Outcome.IDLE)
            await partner.wait_closed()
        assert await gateway.outcome() is outcome


async def test_garbage_instead_of_sftp(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(b"\xff" * 64)
            await partner.wait_closed()
        assert await gateway.outcome() is Outcome.PROTOCOL_ERROR


async def test_what_the_policy_denies_does_not_happen_at_the_target(target: Target) -> None:
    of = rule().model_copy(update={"policy": Policy(deny=(OpClass.DELETE,), max_file_size=1000)})
    (target.root / "kept").write_bytes(b"x")
    denied = metrics.OPERATIONS_DENIED_TOTAL.labels("partners", "denied")
    before = denied._value.get()
    async with serving(target.port, of=of) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="delete is not allowed"):
                await sftp.remove("/kept")
            file = await sftp.open("/large", "wb")
            await file.write(b"y" * 1000)
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="1000 bytes at most"):
                await file.write(b"z")
            await file.close()
        assert (target.root / "kept").exists()
        assert (target.root / "large").read_bytes() == b"y" * 1000
        told = [(fact["event"], fact["path"], fact["outcome"]) for fact in gateway.facts if fact.get("reason")]
        assert told == [("file.remove", "/kept", "denied"), ("file.write", "/large", "denied")]
        assert [fact["outcome"] for fact in gateway.told("file.closed")] == ["failed"]
    assert denied._value.get() == before + 2


async def test_a_policy_that_observes_lets_it_happen(target: Target) -> None:
    of = rule().model_copy(update={"policy": Policy(deny=(OpClass.DELETE,), mode=Mode.OBSERVE)})
    (target.root / "gone").write_bytes(b"x")
    async with serving(target.port, of=of) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            await sftp.remove("/gone")
        assert not (target.root / "gone").exists()
        told = [(fact["outcome"], fact.get("reason")) for fact in gateway.told("file.remove")]
        assert told == [("observed", "delete is not allowed"), ("ok", None)]


async def test_a_partner_sees_only_what_is_below_its_root(target: Target) -> None:
    of = rule().model_copy(update={"policy": Policy(root="/partners/{account}")})
    (target.root / "partners" / USER).mkdir(parents=True)
    async with serving(target.port, of=of) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/"
            async with sftp.open("../../up", "wb") as file:
                await file.write(b"up")
            assert "up" in await sftp.listdir("/")
        assert (target.root / "partners" / USER / "up").read_bytes() == b"up"
        (closed,) = gateway.told("file.closed")
        assert (closed["path"], closed["root"]) == ("/up", f"/partners/{USER}")


@pytest.mark.parametrize("username", ["..", "a/b"])
async def test_a_user_name_that_is_none_for_a_directory_has_no_root(target: Target, username: str) -> None:
    of = rule().model_copy(update={"policy": Policy(root="/partners/{account}")})
    target.users[username] = PASSWORD
    async with serving(target.port, of=of) as gateway:
        async with gateway.partner(username=username) as partner:
            with pytest.raises(asyncssh.ChannelOpenError):
                await partner.start_sftp_client()
        assert [fact["kind"] for fact in gateway.told("request.refused")] == ["root"]


async def test_a_window_is_kept_by_the_clock(target: Target) -> None:
    of = rule().model_copy(update={"policy": Policy(windows=(Window(access=WindowAccess.READ_ONLY),))})
    async with serving(target.port, of=of) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            await sftp.listdir("/")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=r"read-only from 00:00 to 24:00 \(UTC\)"):
                await sftp.mkdir("/d")
        assert not (target.root / "d").exists()


LIMITS_OF = "listener/l1/{}", "rule/r1/{}", "account/None/alice/{}"


@pytest.mark.parametrize("key", LIMITS_OF)
@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_a_limit_of_bandwidth_slows_one_direction_down(target: Target, key: str, direction: str) -> None:
    """It is never faster than that; how much slower is this machine's affair."""
    (target.root / "down").write_bytes(b"d" * 600_000)
    async with serving(target.port) as gateway:
        gateway.throttle.serve({key.format(direction): 1_000_000})
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            seconds = []
            for up in (True, False):
                started = asyncio.get_running_loop().time()
                if up:
                    async with sftp.open("/up", "wb") as file:
                        await file.write(b"u" * 600_000)
                else:
                    async with sftp.open("/down", "rb") as file:
                        assert len(await file.read()) == 600_000
                seconds.append(asyncio.get_running_loop().time() - started)
            (exchange,) = gateway.live[0]._exchanges
            waited = exchange._upload.waited, exchange._download.waited
            assert seconds[direction == "download"] >= 0.2
            assert (waited[0] > 0.1, waited[1] > 0.1) == (direction == "upload", direction == "download")
        assert (target.root / "up").read_bytes() == b"u" * 600_000
    assert gateway.throttle.demands(1.0) == {}


async def test_who_waits_for_bandwidth_is_not_idle_and_a_push_lets_him_go(target: Target) -> None:
    async with serving(target.port, limits(idle=0.3)) as gateway:
        gateway.throttle.serve({"rule/r1/upload": 10_000})
        async with (
            gateway.partner() as partner,
            partner.start_sftp_client() as sftp,
            sftp.open("/up", "wb") as file,
        ):
            writing = asyncio.create_task(file.write(b"u" * 500_000))
            await asyncio.sleep(1.0)
            assert not writing.done()
            assert any(exchange.held for exchange in gateway.live[0]._exchanges)
            gateway.throttle.serve({})
            async with asyncio.timeout(5):
                await writing
        assert (target.root / "up").read_bytes() == b"u" * 500_000


async def test_what_is_told_of_a_live_session(target: Target) -> None:
    async with serving(target.port) as gateway, gateway.partner() as partner, partner.start_sftp_client() as sftp:
        session = gateway.live[0]
        (target.root / ("d" * 50)).mkdir()
        about = session.status(3)
        assert (about.slot, about.username, about.target, about.file, about.direction) == (3, USER, "target", "", "")
        async with sftp.open("/" + "d" * 50 + "/" + "x" * 255, "wb") as file:
            await file.write(b"u" * 100_000)
            session.measure()
            about = session.status(3)
            assert (about.file, about.direction) == ("x" * 255, "upload")
            assert about.bytes_in >= 100_000
            assert about.rate_in > 0
        assert session.status(3).file == ""
