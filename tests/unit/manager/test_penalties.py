"""Penalties with a real supervisor behind the control API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import CA, MANAGER
from tests.unit.server.support import free_port
from usp.errors import UspError
from usp.manager.control import Controls, Endpoint
from usp.secret import Secret
from usp.server.supervisor import Supervisor


def fail(supervisor: Supervisor, username: str) -> None:
    """From two addresses, so that the user name has more failures than either."""
    reception = supervisor.reception
    for number in range(5):
        session = f"{username}-{number}"
        reception._ledger.opened(session, f"192.0.2.{number % 2}", "l")
        reception._impose(reception._ledger.failed(session, username, reception._now()))


@pytest.mark.parametrize("username", ["alice", "a/b?c=d#e%2F é"])
async def test_they_are_seen_and_released(tmp_path: Path, username: str) -> None:
    management = free_port()
    controls = Controls(timeout=5.0)
    there = Endpoint("server", "127.0.0.1", management, CA.cert, MANAGER.cert, Secret(MANAGER.key))
    async with server(management, files(tmp_path / "tls")) as supervisor:
        fail(supervisor, username)
        (penalty,) = await controls.penalties(there)
        assert (penalty.key, penalty.failures, penalty.reason) == (f"username:{username}", 5, "failed logins")
        await controls.release(there, penalty.key)
        assert await controls.penalties(there) == ()
        with pytest.raises(UspError) as caught:
            await controls.release(there, penalty.key)
        assert caught.value.code == "penalty.unknown"
        await controls.close()
