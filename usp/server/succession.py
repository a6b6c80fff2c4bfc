"""The supervisor's part in an upgrade (usp.server.handover): what it hands over, and how it goes on with it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from usp import log as logs
from usp import plan as planning
from usp import tasks
from usp.plan import Endpoint, Spec
from usp.server import handover, ipc
from usp.server.acceptor import Acceptor
from usp.server.door import Door
from usp.server.handover import Handed
from usp.server.reception import Reception
from usp.server.reports import State
from usp.server.slots import Slot, Worker
from usp.settings import ServerSettings
from usp.snapshot import Snapshot, TunnelSpec
from usp.status import Intake, ListenerState

RELINK_TIMEOUT: Final = 5.0  # for Proxy Clients to make links to the workers of an upgrade


class Succession:
    """What of the supervisor it needs, and what it adds."""

    snapshot: Snapshot | None
    reception: Reception
    slots: list[Slot]
    _settings: ServerSettings
    _boot: str
    _started_at: float
    _lock: asyncio.Lock
    _door: Door
    _acceptor: Acceptor
    _orders: dict[str, bool]
    _states: dict[str, State]
    _lives: tasks.TaskSet
    _leaving: list[Slot]
    _new_slot: Callable[[int], Slot]

    @abstractmethod
    def set_drained(self, drained: bool) -> None: ...

    @abstractmethod
    def _workers(self) -> list[Worker]: ...

    @abstractmethod
    def _serve(self, snapshot: Snapshot) -> None: ...

    @abstractmethod
    def _settle(self, id: str, *, running: bool) -> None: ...

    async def hand_over(self, management: int, ready: Callable[[], Awaitable[None]]) -> None:
        """Replace this program by the installed one. It comes back only if that cannot be, with OSError. `ready` does
        what is to be done last."""
        async with self._lock:
            self._acceptor.pause()
            try:
                await handover.quiet(lambda: self.reception.waiting + sum(w.channel.queued for w in self._workers()))
                await ready()
                handover.execute(self._handed(management))
            finally:
                self._acceptor.resume()

    def _handed(self, management: int) -> Handed:
        return Handed(
            boot=self._boot,
            started_at=self._started_at,
            orders=self._orders,
            drained=self._door.intake is not Intake.OPEN,
            listening=tuple(map(handover.listening, self._acceptor.sockets.items())),
            management=management,
            snapshot=ipc.to_memfd(self.snapshot.to_wire()) if self.snapshot else -1,
            workers=tuple(handover.held(worker) for worker in self._workers()),
        )

    def _take_over(self, handed: Handed) -> None:
        """Everything but accepting: workers first."""
        self._boot, self._started_at, self._orders = handed.boot, handed.started_at, dict(handed.orders)
        self.snapshot = handed.taken_snapshot()
        logs.context(configuration=self.snapshot.version if self.snapshot else None)
        for worker in handed.old_workers():
            slot = self._new_slot(-worker.process.pid)
            self._leaving.append(slot)
            for session in worker.sessions.values():
                self.reception.inherited(session)
            seconds = self._settings.server.upgrade_timeout
            life = self._lives.spawn(slot.see_out(worker, seconds), f"worker {worker.process.pid}")
            life.add_done_callback(partial(self._left, slot))
        if handed.drained:
            self.set_drained(True)
        if self.snapshot is not None:
            self._serve(self.snapshot)
            self._states = {spec.id: (ListenerState.STOPPED, "") for _, spec in planning.specs(self.snapshot)}
            for listening in handed.listening:
                self._settle(self._wanted()[listening.endpoint].id, running=True)

    def _left(self, slot: Slot, _: asyncio.Task[None]) -> None:
        self._leaving.remove(slot)

    async def _accept_again(self, handed: Handed) -> None:
        """Tunnels first: partners wait, for a moment, until there is a way to their targets."""
        sockets = handed.sockets()
        tunnels = {endpoint for endpoint, spec in self._wanted().items() if isinstance(spec, TunnelSpec)}
        for endpoint in sockets.keys() & tunnels:
            self._acceptor.open(endpoint, sockets[endpoint])
        await handover.quiet(lambda: handed.missing_links(self.slots), RELINK_TIMEOUT)
        for endpoint in sockets.keys() - tunnels:
            self._acceptor.open(endpoint, sockets[endpoint])

    def _wanted(self) -> dict[Endpoint, Spec]:
        return planning.wanted(self.snapshot, self._orders)
