"""The throttle, in virtual time: how much passes, how fairly, and what a push does to it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial

import pytest

from tests.unit.server.support import RULE, listener, node
from usp.bandwidth import Bandwidth
from usp.server.bucket import BURST, Demand
from usp.server.throttle import LITTLE, Throttle, keys, limits
from usp.snapshot import AccountSpec, Content, RepositorySpec, Snapshot


class Handle:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Time:
    """A clock whose time passes when it is told to."""

    def __init__(self) -> None:
        self.at = 0.0
        self.timers: list[tuple[float, int, Handle]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.at

    def call_later(self, delay: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self.timers, (self.at + delay, next(self._order), handle))
        return handle

    def run(self, seconds: float) -> None:
        end = self.at + seconds
        while self.timers and self.timers[0][0] <= end:
            self.at, _, handle = heapq.heappop(self.timers)
            if handle.callback:
                handle.callback()
        self.at = end


class Sender:
    """Somebody who always has more to send, in packets of one size."""

    def __init__(self, throttle: Throttle, *names: str, packet: int = 32_768) -> None:
        self.sent = 0
        self.packet = packet
        self.flow = throttle.flow(names, self._hold)

    def start(self) -> None:
        self._hold(False)

    def _hold(self, held: bool) -> None:
        while not self.flow.held and self.flow.queues:
            self.sent += self.packet
            self.flow.passed(self.packet)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.mark.parametrize("rate", [10_000, 1_000_000, 500_000_000])
@pytest.mark.parametrize("count", [1, 8])
def test_the_rate_is_reached_and_shared(time: Time, rate: int, count: int) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": rate})
    senders = [Sender(throttle, "a") for _ in range(count)]
    for sender in senders:
        sender.start()
    time.run(60)
    total = sum(sender.sent for sender in senders)
    assert abs(total - rate * (60 + BURST)) <= 32_768 * (count + 1) + rate * 0.05
    fair = total / count
    assert all(abs(sender.sent - fair) <= max(32_768 * 2, rate * 0.3) for sender in senders)


def test_small_packets_are_no_disadvantage(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 2_000_000})
    small, large = Sender(throttle, "a", packet=4_096), Sender(throttle, "a", packet=262_144)
    small.start()
    large.start()
    time.run(60)
    assert small.sent + large.sent == pytest.approx(60 * 2_000_000, rel=0.05)
    assert small.sent > 2_000_000 * 5  # turns are by what is there, not by packets


def test_each_limit_holds(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"listener": 1_000_000, "one": 100_000})
    slow, fast = Sender(throttle, "one", "listener"), Sender(throttle, "two", "listener")
    slow.start()
    fast.start()
    time.run(60)
    assert slow.sent == pytest.approx(60 * 100_000, rel=0.05)
    assert fast.sent == pytest.approx(60 * 900_000, rel=0.05)


def test_without_a_limit_there_is_nothing(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 10_000})
    assert throttle.flow(["b"], lambda held: None).queues == []
    assert throttle.demands(1.0) == {}
    assert time.timers == []


def test_a_push_changes_what_lives(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 100_000})
    senders = [Sender(throttle, "a", "b"), Sender(throttle, "a")]
    for sender in senders:
        sender.start()
    time.run(20)
    before = sum(sender.sent for sender in senders)
    throttle.serve({"a": 1_000_000, "b": 200_000})
    time.run(20)
    assert senders[0].sent + senders[1].sent - before == pytest.approx(20_000_000, rel=0.05)
    first = senders[0].sent
    time.run(20)
    assert senders[0].sent - first == pytest.approx(4_000_000, rel=0.05)
    throttle.serve({})
    assert [sender.flow.held for sender in senders] == [False, False]
    assert [sender.flow.queues for sender in senders] == [[], []]
    waited = senders[0].flow.waited
    assert 50 < waited <= 60
    throttle.serve({"a": 50_000, "c": 1})
    before = sum(sender.sent for sender in senders)
    for sender in senders:
        sender.start()
    time.run(20)
    assert sum(sender.sent for sender in senders) - before == pytest.approx(1_000_000, rel=0.1)


def test_who_has_gone_takes_nothing(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 1_000_000})
    senders = [Sender(throttle, "a") for _ in range(4)]
    for sender in senders:
        sender.start()
    time.run(5)
    for sender in senders[1:]:
        sender.flow.close()
    gone, before = sum(sender.sent for sender in senders[1:]), senders[0].sent
    time.run(10)
    assert sum(sender.sent for sender in senders[1:]) == gone
    assert senders[0].sent - before == pytest.approx(10_000_000, rel=0.05)
    senders[0].flow.close()
    time.run(10)
    assert throttle.demands(1.0) == {}
    assert time.timers == []


def test_what_may_be_read_at_once(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 1_000_000, "b": 400_000})
    flow = throttle.flow(["a", "b"], lambda held: None)
    assert flow.room(1 << 20) == 400_000 * BURST
    assert flow.room(50_000) == 50_000
    flow.passed(90_000)
    assert flow.room(1 << 20) == LITTLE
    assert throttle.flow(["c"], lambda held: None).room(5) == 5


def test_workers_share_a_limit(time: Time) -> None:
    asked: list[int] = []
    workers = [Throttle(time, 2, partial(asked.append, number)) for number in range(2)]
    for worker in workers:
        worker.serve({"a": 1_000_000})
    first, second = Sender(workers[0], "a"), Sender(workers[1], "a")
    assert asked == [0, 1]
    first.start()
    time.run(2)
    assert first.sent == pytest.approx(500_000 * (2 + BURST), rel=0.1)
    assert workers[0].demands(2.0) == {"a": (1_000_000, Demand(first.sent / 2, 1, 1))}
    assert workers[1].demands(2.0) == {"a": (1_000_000, Demand(0, 1, 0))}
    workers[0].given({"a": 980_000, "gone": 1})
    workers[1].given({"a": 20_000})
    before = first.sent
    second.start()
    time.run(10)
    assert first.sent - before == pytest.approx(9_800_000, rel=0.05)
    assert second.sent == pytest.approx(200_000, rel=0.3)
    assert workers[1].demands(10.0)["a"][1].held == 1
    assert workers[1].demands(1.0)["a"][1] == Demand(0, 1, 1)  # it still waits


def test_a_rate_that_changes_while_some_wait(time: Time) -> None:
    throttle = Throttle(time)
    throttle.serve({"a": 10_000})
    sender = Sender(throttle, "a", packet=1_000_000)
    sender.start()  # a debt of 100 seconds
    throttle.given({"a": 1_000_000})
    assert sender.flow.held
    time.run(101)
    assert sender.sent >= 2_000_000


def test_the_limits_of_a_configuration() -> None:
    rule = RULE.model_copy(update={"bandwidth": Bandwidth(upload=20_000)})
    spec = listener("l1", 1).model_copy(
        update={
            "bandwidth": Bandwidth(upload=50_000, download=60_000),
            "nodes": (node().model_copy(update={"rule": rule}),),
        }
    )
    accounts = AccountSpec(username="a", bandwidth=Bandwidth(download=10_000)), AccountSpec(username="b")
    repository = RepositorySpec(id="r1", name="partners", accounts=accounts)
    content = Content(listeners=(spec,), repositories=(repository,))
    assert limits(Snapshot.of("server", 1, content)) == {
        "listener/l1/upload": 50_000,
        "listener/l1/download": 60_000,
        "rule/rule/upload": 20_000,
        "account/r1/a/download": 10_000,
    }
    assert keys("rule", "rule") == ("rule/rule/upload", "rule/rule/download")
