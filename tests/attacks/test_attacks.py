"""Each attack of the table, against real sessions: it is answered as it says there, soon, nothing of it stays, and a
partner who has been in all the while does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncssh
import pytest
import pytest_asyncio

from tests.attacks import raw_ssh as ssh
from tests.attacks.conftest import LOGIN_SECONDS
from tests.attacks.raw_ssh import RawSsh
from tests.attacks.table import ATTACKS, CLOSED, GOES_ON, SLOW, Attack, Message, Raw, Stage
from tests.unit.server.gateway import PASSWORD, USER, Gateway
from usp.status import Outcome

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 10.0
"""Seconds for the answer: there is none that has to wait for anything."""
SFTP_INIT = bytes.fromhex("00000005 01 00000003")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def friend(gateway: Gateway) -> AsyncIterator[asyncssh.SFTPClient]:
    async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
        yield sftp
    assert await gateway.outcome() is Outcome.COMPLETED


async def at(stage: Stage, port: int) -> RawSsh:
    client = await RawSsh.connect(port)
    if stage is Stage.GREETED:
        await client.greet()
    elif stage is Stage.OFFERED:
        await client.greet()
        await client.offer()
    elif stage is Stage.KEYS:
        await client.keys()
    elif stage is Stage.SERVICE:
        await client.service()
    elif stage in (Stage.IN, Stage.CHANNEL):
        await client.log_in(USER, PASSWORD)
        if stage is Stage.CHANNEL:
            await client.channel()
    return client


async def go(client: RawSsh, attack: Attack) -> None:
    if callable(attack.sends):
        await attack.sends(client)
        return
    if attack.stage is Stage.CONNECTED:
        client.server_version = (await client._reader.readline()).rstrip()
    for each in attack.sends:
        if isinstance(each, Raw):
            await client.write(each)
        else:
            await client.send(each)


async def goes_on(client: RawSsh, stage: Stage) -> None:
    """What a good client does next still works."""
    if stage is Stage.GREETED:
        await client.exchange()
    if stage in (Stage.GREETED, Stage.KEYS):
        await client.send(bytes([ssh.SERVICE_REQUEST]) + ssh.string("ssh-userauth"))
        assert await client.wait_for(ssh.SERVICE_ACCEPT), client.disconnects()
    if stage is Stage.CHANNEL:
        await client.send(ssh.data(SFTP_INIT))
        assert await client.wait_for(ssh.DATA), client.disconnects()
    elif stage is Stage.IN:
        await client.send(bytes([ssh.GLOBAL_REQUEST]) + ssh.string("keepalive@openssh.com") + b"\1")
        assert await client.wait_for(ssh.REQUEST_FAILURE, ssh.REQUEST_SUCCESS), client.disconnects()
    else:
        await client.send(ssh.password(USER, PASSWORD))
        assert await client.wait_for(ssh.USERAUTH_SUCCESS), client.said


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_attack(gateway: Gateway, friend: asyncssh.SFTPClient, attack: Attack) -> None:
    client = await at(attack.stage, gateway.port)
    try:
        async with asyncio.timeout(SOON):
            await go(client, attack)
            if attack.answer is GOES_ON:
                await goes_on(client, attack.stage)
            elif isinstance(attack.answer, Message):
                assert await client.wait_for(attack.answer.kind), client.disconnects()
                if attack.stage in (Stage.KEYS, Stage.IN):
                    await goes_on(client, attack.stage)
            else:
                await client.the_end()
                assert attack.answer is CLOSED or [code for code, _ in client.disconnects()] == [attack.answer], (
                    client.disconnects()
                )
    finally:
        client.close()
        outcome = await gateway.outcome()
    assert outcome is not Outcome.INTERNAL
    assert await friend.listdir(".")


async def test_who_is_slow_is_ended_however_he_is_slow(gateway: Gateway, friend: asyncssh.SFTPClient) -> None:
    """Slow-loris at every stage before the login, all at once."""

    async def drip(client: RawSsh, pieces: list[bytes]) -> None:
        for piece in pieces:
            await client.write(piece)
            await asyncio.sleep(LOGIN_SECONDS / 20)

    async def ended(stage: Stage, make: Callable[[RawSsh], list[bytes]]) -> None:
        client = await at(stage, gateway.port)
        dripping = asyncio.ensure_future(drip(client, make(client)))
        try:
            async with asyncio.timeout(LOGIN_SECONDS + SOON):
                await client.hung_up()
        finally:
            dripping.cancel()
            client.close()

    results = await asyncio.gather(*(ended(stage, make) for _, stage, make in SLOW), return_exceptions=True)
    outcomes = [await gateway.outcome() for _ in SLOW]
    assert results == [None] * len(SLOW)
    assert set(outcomes) == {Outcome.LIMIT}
    assert await friend.listdir(".")
