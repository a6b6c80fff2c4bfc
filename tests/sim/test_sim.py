"""A few of the histories; `make sim` plays a thousand. What would be wrong is found, too: see the planted mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.history import play
from tests.sim.world import ProxyServer
from usp.manager import pusher, reconcile
from usp.manager.holdings import Holdings
from usp.manager.store.leases import Standing
from usp.server import verdict
from usp.snapshot import Snapshot
from usp.status import Ack


@pytest.mark.parametrize("first", range(0, 32, 8))
def test_histories(first: int) -> None:
    for seed in range(first, first + 8):
        play(seed)


def test_a_seed_is_a_history() -> None:
    assert play(7) == play(7)


def _older_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = verdict.judge

    def wrong(server: str, in_force: Snapshot | None, offered: Snapshot) -> Ack | None:
        return judge(server, None, offered)

    monkeypatch.setattr(verdict, "judge", wrong)


def _nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = reconcile.decide

    def wrong(desired: Any, observed: Any, **other: Any) -> Any:
        return decide(replace(desired, unrecorded=False), observed, **other)

    monkeypatch.setattr(pusher, "decide", wrong)


def _drains_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = reconcile.decide

    def wrong(desired: Any, observed: Any, **other: Any) -> Any:
        return decide(replace(desired, drained=False), observed, **other)

    monkeypatch.setattr(pusher, "decide", wrong)


def _two_pushes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start = ProxyServer.start

    class NoLock:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *_: object) -> None:
            pass

    def wrong(self: ProxyServer) -> None:
        start(self)
        self._lock = NoLock()  # type: ignore[assignment]

    monkeypatch.setattr(ProxyServer, "start", wrong)


def _a_lease_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Holdings, server: str) -> bool:
        return server in self._held

    monkeypatch.setattr(Holdings, "holds", wrong)


def _nobody_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    wants = Holdings._wants

    def wrong(self: Holdings, server: str, standing: Standing | None, now: float) -> bool:
        return wants(self, server, standing, now) and (standing is None or standing.holder == self._id)

    monkeypatch.setattr(Holdings, "_wants", wrong)


@pytest.mark.parametrize(
    ("mistake", "seeds"),
    [
        (_older_is_taken, range(40)),
        (_nothing_is_recorded, range(40)),
        (_drains_are_forgotten, range(10)),
        (_two_pushes_at_once, range(20)),
        (_a_lease_never_ends, range(20)),
        (_nobody_takes_over, range(20)),
    ],
)
def test_planted_mistakes_are_found(
    monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None], seeds: range
) -> None:
    mistake(monkeypatch)
    for seed in seeds:
        try:
            play(seed)
        except AssertionError as error:
            assert f"python -m tests.sim --seed {seed}" in str(error)  # noqa: PT017
            return
    pytest.fail("no history found it")
