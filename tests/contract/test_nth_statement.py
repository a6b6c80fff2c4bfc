"""A write of the store that fails at its n-th statement or at its commit, for every n: nothing of it is there, and the
same write works the next time. (What gets lost between two machines, test_losing plays.)"""

from __future__ import annotations

import pytest

from tests.contract.conftest import OpenStore
from tests.contract.test_losing import WRITES, Write, counts
from tests.contract.test_rotation import Killed, killed_at

pytestmark = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_fails_at_every_statement(opened: OpenStore, write: Write) -> None:
    store = await opened()
    nothing, step, done = dict.fromkeys(WRITES[write], 0), 0, False
    while not done:
        step += 1
        with killed_at(step) as reached:
            try:
                await write(store, step)
                done = True
            except Killed:
                pass
        assert done or await counts(store, WRITES[write]) == nothing, reached
    assert step > 3, "some were broken off"
    assert await counts(store, WRITES[write]) == WRITES[write], "it works the next time, once"
