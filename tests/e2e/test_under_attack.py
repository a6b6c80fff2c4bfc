"""How long a good login takes while strangers do what they can: figures, and that each one gets in.

Strangers come from addresses of their own (all of 127/8 is this machine), with the raw SSH client of `tests/attacks`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from tests.attacks import raw_ssh as ssh
from tests.attacks.raw_ssh import RawSsh
from tests.e2e.storm import Storm
from tests.e2e.suite import Suite, running

pytestmark = [pytest.mark.once, pytest.mark.long]

LOGINS = 30
STRANGERS = 10
"""Of each kind, at once, each from its own address."""


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "2") as suite:
        yield suite


async def silent(client: RawSsh, suite: Suite) -> None:
    await asyncio.sleep(30)


async def garbage(client: RawSsh, suite: Suite) -> None:
    await client.write(b"\xff" * 5000 + b"\n")
    await client.hung_up()


async def half_exchanges(client: RawSsh, suite: Suite) -> None:
    await client.greet()
    await client.offer()


async def logins_of_no_method(client: RawSsh, suite: Suite) -> None:
    await client.service()
    await client.send(*[ssh.userauth("nobody", "none")] * 1000)
    await client.the_end()


async def wrong_passwords(client: RawSsh, suite: Suite) -> None:
    await client.service()
    for _ in range(10):
        await client.send(ssh.password("nobody", "wrong"))
        if not await client.wait_for(ssh.USERAUTH_FAILURE):
            return


async def rekeys_before_the_login(client: RawSsh, suite: Suite) -> None:
    await client.keys()
    await client.offer()
    await client.hung_up()


async def rekeys(client: RawSsh, suite: Suite) -> None:
    """Of a partner who is in."""
    partner = suite.ready["partner"]
    await client.log_in(partner["username"], partner["password"])
    while True:
        await client.rekey()


Act = Callable[[RawSsh, Suite], Awaitable[None]]
ATTACKS: list[Act] = [
    silent, garbage, half_exchanges, logins_of_no_method, wrong_passwords, rekeys_before_the_login, rekeys,
]  # fmt: skip


async def again_and_again(act: Act, source: str, suite: Suite, taken: list[str]) -> None:
    """`taken`: who attacked, each time that the server took the connection."""
    while True:
        with suppress(OSError, AssertionError, asyncio.IncompleteReadError):
            client = await RawSsh.connect(suite.port(), source)
            taken.append(source)
            try:
                await act(client, suite)
            finally:
                client.close()
        await asyncio.sleep(0.01)


async def logins(suite: Suite) -> list[float]:
    partner = suite.ready["partner"]
    good, took = Storm(partner["port"], partner["username"], partner["password"]), []
    for number in range(LOGINS):
        began = time.monotonic()
        assert await good.log_in(f"127.0.40.{1 + number % 5}") == "ok"
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    return took


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda act: act.__name__)
def test_good_logins(suite: Suite, attack: Act) -> None:
    taken = list[str]()

    async def play() -> tuple[list[float], list[float]]:
        before = await logins(suite)
        net = 50 + ATTACKS.index(attack)
        strangers = [
            asyncio.ensure_future(again_and_again(attack, f"127.0.{net}.{n}", suite, taken))
            for n in range(1, STRANGERS + 1)
        ]
        await asyncio.sleep(0.5)
        during = await logins(suite)
        for stranger in strangers:
            stranger.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)
        return before, during

    before, during = asyncio.run(play())
    assert len(set(taken)) == STRANGERS, "all of them attacked"
    print(
        f"{attack.__name__.replace('_', ' ')} ({len(taken)} connections of {STRANGERS} strangers): a good login takes "
        f"{_ms(statistics.median(before))} before, {_ms(statistics.median(during))} meanwhile (median); worst "
        f"{_ms(max(before))} before, {_ms(max(during))} meanwhile"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
