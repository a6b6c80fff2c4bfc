"""The watch over targets in a worker: which address to dial first, and which listeners lead nowhere at present.

Where an address was down, it is probed when its cool-down ends: one TCP connection, closed at once, by one task per
address, and none at all while nobody found it down. So a target that penalises its sources (OpenSSH's
PerSourcePenalties) is never provoked, and a listener comes back by itself. The supervisor hears of listeners none of
whose addresses is up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import asyncssh

from usp import log as logs
from usp import metrics, tasks
from usp.log import get_logger
from usp.server.messages import TargetHealth
from usp.server.proxy import LOCAL
from usp.server.targets import UNREACHABLE, Place, Targets, drawn, places
from usp.server.tunnels import Link
from usp.snapshot import PathSpec, Snapshot, TargetSpec

log = get_logger(__name__)


class Watch:
    """`find_link`: the link to dial through. `tell` takes what the supervisor is to hear; `timeout`: of a probe."""

    def __init__(
        self, find_link: Callable[[PathSpec], Link | None], tell: Callable[[TargetHealth], object], timeout: float
    ) -> None:
        self._find_link = find_link
        self._tell = tell
        self._timeout = timeout
        self._now = asyncio.get_running_loop().time
        self._targets = Targets()
        self._listeners: dict[str, tuple[Place, ...]] = {}
        self._names: dict[str, str] = {}
        self._places: set[Place] = set()
        self._told: tuple[str, ...] = ()
        self._probed: set[Place] = set()
        self._probes = tasks.TaskSet()

    def serve(self, snapshot: Snapshot) -> None:
        """From now on these listeners matter."""
        self._listeners = {
            spec.id: tuple(places(spec.target, spec.path))
            for spec in snapshot.content.listeners
            if spec.target is not None
        }
        self._places = {place for places in self._listeners.values() for place in places}
        self._names = {spec.id: spec.name for spec in snapshot.content.listeners}
        metrics.TARGET_UP.clear()
        self._changed()

    async def aclose(self) -> None:
        await self._probes.cancel()

    def order(self, target: TargetSpec, path: PathSpec | None) -> list[Place]:
        """Where to dial it now, one after the other."""
        return self._targets.order(drawn(target, path, random.random), self._now())

    def failed(self, place: Place, code: str) -> None:
        self._targets.failed(place, code, self._now())
        self._changed()

    def answered(self, place: Place) -> None:
        if self._targets.answered(place):
            self._changed()

    def _changed(self) -> None:
        for place in self._places - self._probed:
            if self._targets.down(place):
                self._probed.add(place)
                self._probes.spawn(self._probe(place), f"probe of {place}")
        down = tuple(
            id for id, places in sorted(self._listeners.items()) if all(self._targets.down(place) for place in places)
        )
        for id in self._listeners:
            metrics.TARGET_UP.labels(self._names[id]).set(id not in down)
        if down != self._told:
            self._told = down
            self._tell(TargetHealth(down=down))

    async def _probe(self, place: Place) -> None:
        """Until it is up again, or matters no more."""
        logs.unbind()  # it is no session's business any more
        log.warn("target.down", address=str(place))
        try:
            while place in self._places and self._targets.down(place):
                await asyncio.sleep(self._targets.wait(place, self._now()))
                await self._try(place)
        finally:
            self._probed.discard(place)
        if not self._targets.down(place):
            log.info("target.up", address=str(place))
        self._changed()

    async def _try(self, place: Place) -> None:
        if not self._targets.down(place) or self._targets.wait(place, self._now()) > 0:
            return  # a login was there first
        link = self._find_link(place.path) if place.path else None
        try:
            if place.path is None or link is not None:  # without a link, that it is down is all that is to be told
                async with asyncio.timeout(self._timeout):
                    await _connected(place, link)
            self._targets.opened(place, self._now())
        except (OSError, asyncssh.Error):
            self._targets.failed(place, UNREACHABLE, self._now())


async def _connected(place: Place, link: Link | None) -> None:
    """Connect and go. Who expects to be told for whom is told that it is for nobody."""
    header = LOCAL if place.send_proxy_v2 else b""
    if link is None:
        _, writer = await asyncio.open_connection(place.host, place.port)
        writer.write(header)
        writer.close()
        return
    _, through = await link.connection.open_connection(place.host, place.port, encoding=None)
    through.write(header)
    through.close()
