"""Token buckets, and how the workers of a server share one. Pure: time comes in.

A bucket's level is in bytes. It rises by the rate, up to `BURST` seconds of it, and may fall below zero: what was read
from a socket has been taken already, and is paid for by waiting.

What workers share is given out anew every second, by what each said that it would use: nobody gets more than he can use
as long as others want it, and those who want more than there is get the same for each of their channels (max-min
fairness). A worker that wants little keeps a little more than that, to begin with when it wants more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

BURST: Final = 0.25
TURN: Final = 0.02
"""Seconds of the rate that are there before somebody who waited goes on: so timers are few."""
GROWTH: Final = 1.5
RESERVE: Final = 0.02
"""Of the rate, for all workers together that want little."""
FORGET: Final = 2.5
"""Seconds after which a worker that says nothing wants nothing."""


class Bucket:
    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = rate * BURST
        self._at = now

    def level(self, now: float) -> float:
        self._level = min(self._level + (now - self._at) * self.rate, self.rate * BURST)
        self._at = now
        return self._level

    def take(self, count: int, now: float) -> float:
        """The level after it."""
        self._level = self.level(now) - count
        return self._level

    def seconds(self, now: float) -> float:
        """Until there is enough for a turn."""
        return max(0.0, TURN - self.level(now) / self.rate)

    def change(self, rate: float, now: float) -> None:
        """From now on it has this rate. A debt takes as long as it would have taken."""
        level = self.level(now)
        self._level = level * rate / self.rate if level < 0 else min(level, rate * BURST)
        self.rate = rate


class Demand(NamedTuple):
    """What a worker says of a bucket. `used`: bytes per second; `channels` it has, of which `held` had to wait."""

    used: float
    channels: int
    held: int


def shares(rate: float, demands: Sequence[Demand]) -> list[float]:
    """What each worker may use of the rate; together, all of it."""
    reserve = rate * RESERVE / max(1, len(demands))
    wanted = [float("inf") if each.held else each.used * GROWTH + reserve for each in demands]
    weights = [max(1, each.held or each.channels) for each in demands]
    given = [0.0] * len(demands)
    open_, left = sorted(range(len(demands)), key=lambda one: wanted[one] / weights[one]), rate
    while open_:
        one = open_[0]
        fair = left / sum(weights[each] for each in open_)
        if wanted[one] > fair * weights[one]:  # and so do all that come after it
            for each in open_:
                given[each] = fair * weights[each]
            return given
        given[one] = wanted[one]
        left -= given[one]
        del open_[0]
    spare = left / sum(weights) if weights else 0.0
    return [amount + spare * weight for amount, weight in zip(given, weights, strict=True)]


class Demands:
    """What the workers want of all buckets, as far as they said so lately."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, tuple[float, Demand]]] = {}

    def told(self, worker: int, wanted: Mapping[str, tuple[float, Demand]], now: float) -> dict[str, float]:
        """A worker tells what it wants, each with the rate that all may use: what it may use now."""
        for key, (_, demand) in wanted.items():
            self._known.setdefault(key, {})[worker] = (now, demand)
        fresh = ((key, _fresh(known, now)) for key, known in self._known.items())
        self._known = {key: known for key, known in fresh if known}
        return {key: self._share(key, worker, rate) for key, (rate, _) in wanted.items()}

    def _share(self, key: str, worker: int, rate: float) -> float:
        known = self._known[key]
        return shares(rate, [demand for _, demand in known.values()])[list(known).index(worker)]


def _fresh(known: Mapping[int, tuple[float, Demand]], now: float) -> dict[int, tuple[float, Demand]]:
    return {worker: told for worker, told in known.items() if now - told[0] <= FORGET}
