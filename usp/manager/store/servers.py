"""What is wanted of each server and what was last seen of it; run states of Deployments and Tunnels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from usp.manager.store.rows import RunState, Server
from usp.status import Report, ServerState


class Servers:
    async def get(self, name: str) -> Server:
        """A server that nothing is known of yet comes as `Server(name)`."""
        raise NotImplementedError

    async def all(self) -> Mapping[str, Server]:
        """Every server that something is known of, by name."""
        raise NotImplementedError

    async def observed(
        self, name: str, state: ServerState, reason: str, *, at: datetime, report: Report | None = None
    ) -> None:
        """What a manager saw. Without a report (unreachable) the last one stays, and `seen_at` with it."""
        raise NotImplementedError

    async def run_states(self) -> Mapping[str, RunState]:
        """id of Deployment or Tunnel -> what an administrator wants; without an entry its startup decides."""
        raise NotImplementedError

    async def set_run_state(self, id: str, state: RunState | None, *, author: str, at: datetime) -> None:
        """None: back to what its startup says."""
        raise NotImplementedError
