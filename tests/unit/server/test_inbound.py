"""What a partner may ask for, and what is refused without ending the session."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_EOF
from asyncssh.packet import String

from tests.unit.server.gateway import Target, serving
from usp.status import Outcome


async def test_only_sftp_is_granted_and_the_session_goes_on(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            for ask in ({"command": "id"}, {}, {"subsystem": "netconf"}):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await partner.create_process(**ask)
            with pytest.raises(asyncssh.ChannelOpenError):
                await partner.create_process(subsystem="sftp", request_pty="force", term_type="vt100")
            with pytest.raises(asyncssh.ChannelOpenError):
                await partner.open_connection("127.0.0.1", target.port)
            with pytest.raises(asyncssh.ChannelOpenError):
                await partner.open_unix_connection("/tmp/x")
            with pytest.raises(asyncssh.ChannelListenError):
                await partner.forward_remote_port("127.0.0.1", 0, "127.0.0.1", target.port)
            with pytest.raises(asyncssh.ChannelListenError):
                await partner.forward_remote_path("/tmp/usp-never", "/tmp/x")
            async with partner.start_sftp_client(env={"LD_PRELOAD": "evil"}) as sftp:
                assert sorted(await sftp.listdir("/")) == [".", ".."]
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_environment_is_refused(target: Target) -> None:
    """Pins an internal of asyncssh: the handler that `SftpChannel` overrides."""
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            args = (String("A"), String("b"))
            assert await process.channel._make_request(b"env", *args) is False
            process.close()
            await process.wait_closed()
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_a_second_eof_is_no_offence(target: Target) -> None:
    """rclone sends two. Pins an internal of asyncssh: the table that `SftpChannel` overrides."""
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(bytes.fromhex("000000050100000003"))  # INIT
            assert await process.stdout.readexactly(5)
            process.channel.send_packet(MSG_CHANNEL_EOF)
            process.channel.send_packet(MSG_CHANNEL_EOF)
            await process.wait_closed()
            async with partner.start_sftp_client() as sftp:
                await sftp.stat("/")
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_the_channel_is_closed_while_the_target_opens_its_own(target: Target) -> None:
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            asking = asyncio.ensure_future(partner.create_process(subsystem="sftp", encoding=None))
            await asyncio.sleep(0)
            for channel in tuple(partner._channels.values()):
                channel.abort()
            asking.cancel()
            await asyncio.sleep(0.05)
            async with partner.start_sftp_client() as sftp:
                await sftp.stat("/")
        assert await gateway.outcome() is Outcome.COMPLETED
