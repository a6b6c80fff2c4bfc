"""Which of a target's addresses to dial, and what a worker remembers of those that were down. Pure and bounded; time
and randomness are arguments.

An address that failed is left alone for a while and comes last meanwhile, so that a dead first address does not cost
every login its timeout. Nothing is forgotten by time alone: after its cool-down it is tried again, gently, by `watch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from usp.model import Address, Distribution
from usp.snapshot import PathSpec, TargetSpec

FIRST: Final = 1.0
LAST: Final = 4.0
"""Seconds of cool-down: they double from failure to failure, up to the last."""
PENALISED: Final = 15.0
"""Seconds when the target refuses our address: OpenSSH's shortest penalty."""
MAX_PLACES: Final = 10_000

UNREACHABLE: Final = "target.unreachable"
REFUSED: Final = "target.refused"
BARRED: Final = "target.penalised"
DOWN: Final = frozenset({UNREACHABLE, REFUSED, BARRED})
"""Failures that another address of the same target may not have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is dialled: directly, or from a Proxy Client. Whatever weights it has, it is one place."""

    host: str
    port: int
    path: PathSpec | None = None
    send_proxy_v2: bool = False

    def __str__(self) -> str:
        return str(Address(host=self.host, port=self.port))


def places(target: TargetSpec, path: PathSpec | None) -> list[Place]:
    """All of a target, in their order."""
    return [Place(each.host, each.port, path, target.send_proxy_v2) for each in target.addresses]


def drawn(target: TargetSpec, path: PathSpec | None, random: Callable[[], float]) -> list[Place]:
    """All of a target, in the order in which a login tries them while none is in trouble.

    By weight: each of those that are left comes next with a probability that is its share of their weights (of timers
    that run off at random, at a rate that is the weight, it rings first); those of weight 0 come last, in their order.
    `random` gives numbers from 0 to below 1.
    """
    found = places(target, path)
    if target.distribution is Distribution.ORDERED:
        return found
    rings = [-math.log1p(-random()) / each.weight if each.weight else math.inf for each in target.addresses]
    return [place for _, place in sorted(zip(rings, found, strict=True), key=lambda pair: pair[0])]


@dataclass(frozen=True, slots=True)
class _Trouble:
    failures: int
    until: float
    down: bool  # nobody gets in there; else it hung up on one, and may take the next


class Targets:
    def __init__(self) -> None:
        self._troubles: dict[Place, _Trouble] = {}

    def order(self, places: Sequence[Place], now: float) -> list[Place]:
        """As given, but those in trouble last: when all are, each is tried all the same."""
        return sorted(places, key=lambda place: self.down(place) or self.wait(place, now) > 0)

    def failed(self, place: Place, code: str, now: float) -> None:
        """It failed with this code of `DOWN`, by a login or by a probe."""
        before = self._troubles.pop(place, None)
        failures = before.failures + 1 if before else 1
        seconds = PENALISED if code == BARRED else min(LAST, FIRST * 2.0 ** min(failures - 1, 8))
        self._troubles[place] = _Trouble(failures, now + seconds, code != REFUSED)
        if len(self._troubles) > MAX_PLACES:
            del self._troubles[next(iter(self._troubles))]

    def opened(self, place: Place, now: float) -> None:
        """It takes connections again. What failed before counts until a login shows that it works."""
        if trouble := self._troubles.get(place):
            self._troubles[place] = _Trouble(trouble.failures, now, down=False)

    def answered(self, place: Place) -> bool:
        """It spoke SSH with us. Whether that is news."""
        return self._troubles.pop(place, None) is not None

    def down(self, place: Place) -> bool:
        trouble = self._troubles.get(place)
        return trouble is not None and trouble.down

    def wait(self, place: Place, now: float) -> float:
        """Seconds until it is to be tried again."""
        trouble = self._troubles.get(place)
        return max(0.0, trouble.until - now) if trouble else 0.0
