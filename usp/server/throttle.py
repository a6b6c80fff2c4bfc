"""The throttle: a worker's side of bandwidth limits. Who has used up what there is reads on when it is his turn.

A `Flow` is one direction of one channel (or of one connection in Direct Mode). It counts against the bucket of each
limit that it is under. When one of them is empty, the flow is held: whoever owns it stops reading, so that what comes
fills the windows of SSH and of TCP, and no memory. Those that are held by a bucket go on in turn; each gets as much as
it has ready, and the next waits again. Nobody polls: a bucket with somebody waiting has one timer.

Limits are looked up by what they are about, not by the snapshot that a session began with: a push changes them for
sessions that live. Where there is none, a flow has no bucket, and costs one look for each read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from usp.bandwidth import Bandwidth
from usp.server.bucket import Bucket, Demand
from usp.snapshot import Snapshot

LITTLE: Final = 16 << 10
"""The least that is read at once where a read can be cut short."""


class Flow:
    """`hold` is called when it has to stop (True) or may go on (False); data may come during the call."""

    __slots__ = ("_hold", "_throttle", "held", "held_since", "keys", "queues", "waited")

    def __init__(self, throttle: Throttle, keys: tuple[str, ...], hold: Callable[[bool], None]) -> None:
        self.keys = keys
        self.queues: list[Queue] = []
        self.held = False
        self.held_since = 0.0
        self.waited = 0.0  # seconds, until it was last let go
        self._throttle = throttle
        self._hold = hold

    def passed(self, count: int) -> None:
        """So many bytes were read. To be called if there are `queues`."""
        now = self._throttle.now()
        empty: Queue | None = None
        for queue in self.queues:
            queue.used += count
            if queue.bucket.take(count, now) <= 0:
                empty = empty or queue
        if empty is not None and not self.held:
            self.held, self.held_since = True, now
            self._hold(True)
            empty.wait(self, now)

    def room(self, most: int) -> int:
        """How much may be read at once where a read can be cut short."""
        now = self._throttle.now()
        levels = (int(queue.bucket.level(now)) for queue in self.queues)
        return min(most, max(LITTLE, min(levels, default=most)))

    def proceed(self, now: float) -> None:
        """It is its turn, if no other bucket is empty."""
        for queue in self.queues:
            if queue.bucket.level(now) <= 0:
                queue.wait(self, now)
                return
        self.held = False
        self.waited += now - self.held_since
        self._hold(False)

    def close(self) -> None:
        """There will be no more."""
        self._throttle.remove(self)


class Queue:
    """A limit, and what this worker may use of it, its `share`: the bucket, and the flows that it holds, the next one
    first."""

    def __init__(self, limit: float, share: float, clock: Clock) -> None:
        self.limit = limit
        self.bucket = Bucket(share, clock.time())
        self.flows: set[Flow] = set()
        self.used = 0  # bytes since the last report
        self.held: set[Flow] = set()  # since the last report
        self.waiting: deque[Flow] = deque()
        self._clock = clock
        self._timer: Timer | None = None

    def wait(self, flow: Flow, now: float) -> None:
        self.waiting.append(flow)
        self.held.add(flow)
        if self._timer is None:
            self._timer = self._clock.call_later(self.bucket.seconds(now), self._turn)

    def change(self, share: float) -> None:
        self.bucket.change(share, self._clock.time())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._clock.call_later(self.bucket.seconds(self._clock.time()), self._turn)

    def remove(self, flow: Flow) -> None:
        self.flows.discard(flow)
        self.held.discard(flow)
        if flow in self.waiting:
            self.waiting.remove(flow)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self.waiting and self.bucket.level(now) > 0:
            self.waiting.popleft().proceed(now)
        if self.waiting and self._timer is None:
            self._timer = self._clock.call_later(self.bucket.seconds(now), self._turn)


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """The event loop, as far as it is needed here."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


class Throttle:
    """All limits of a worker. `workers`: how many share them; `asked` is called when one is used that was not."""

    def __init__(self, clock: Clock, workers: int = 1, asked: Callable[[], None] = lambda: None) -> None:
        self.now = clock.time
        self._clock = clock
        self._workers = workers
        self._asked = asked
        self._limits: Mapping[str, int] = {}
        self._queues: dict[str, Queue] = {}
        self._flows: set[Flow] = set()

    def serve(self, limits: Mapping[str, int]) -> None:
        """From now on these limits hold, for the flows that are there, too."""
        before, self._limits = self._limits, limits
        for flow in tuple(self._flows):
            if any(before.get(key) != limits.get(key) for key in flow.keys):
                self._detach(flow)
                self._attach(flow)
                if flow.held:
                    flow.proceed(self.now())

    def flow(self, keys: Iterable[str], hold: Callable[[bool], None]) -> Flow:
        made = Flow(self, tuple(keys), hold)
        self._flows.add(made)
        self._attach(made)
        return made

    def remove(self, flow: Flow) -> None:
        self._flows.discard(flow)
        self._detach(flow)

    def demands(self, seconds: float) -> dict[str, tuple[float, Demand]]:
        """Of the last so many seconds: each limit that flows are under, with what is wanted of it."""
        told = {}
        for key, queue in self._queues.items():
            told[key] = queue.limit, Demand(queue.used / seconds, len(queue.flows), len(queue.held))
            queue.used, queue.held = 0, set(queue.waiting)
        return told

    def given(self, shares: Mapping[str, float]) -> None:
        """What this worker may use of the limits."""
        for key, share in shares.items():
            if queue := self._queues.get(key):
                queue.change(share)

    def _attach(self, flow: Flow) -> None:
        new = False
        for key in flow.keys:
            limit = self._limits.get(key)
            if limit is None:
                continue
            queue = self._queues.get(key)
            if queue is None:
                new = True
                queue = self._queues[key] = Queue(limit, limit / self._workers, self._clock)
            elif queue.limit != limit:
                queue.change(queue.bucket.rate * limit / queue.limit)
                queue.limit = limit
            queue.flows.add(flow)
            flow.queues.append(queue)
        if new and self._workers > 1:
            self._asked()

    def _detach(self, flow: Flow) -> None:
        for queue in flow.queues:
            queue.remove(flow)
        flow.queues = []
        for key in flow.keys:
            left = self._queues.get(key)
            if left is not None and not left.flows:
                left.close()
                del self._queues[key]


def keys(kind: str, id: str) -> tuple[str, str]:
    """Of the upload and of the download."""
    return f"{kind}/{id}/upload", f"{kind}/{id}/download"


def limits(snapshot: Snapshot) -> dict[str, int]:
    """All that a configuration limits."""
    found: dict[str, int] = {}

    def note(kind: str, id: str, bandwidth: Bandwidth) -> None:
        for key, rate in zip(keys(kind, id), (bandwidth.upload, bandwidth.download), strict=True):
            if rate is not None:
                found[key] = rate

    for listener in snapshot.content.listeners:
        note("listener", listener.id, listener.bandwidth)
        for node in listener.nodes:
            note("rule", node.rule.id, node.rule.bandwidth)
    for repository in snapshot.content.repositories:
        for account in repository.accounts:
            note("account", f"{repository.id}/{account.username}", account.bandwidth)
    return found
