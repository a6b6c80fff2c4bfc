"""What a benchmark finds, in one line each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Seconds that something took, each time. `wanted`: what the median should stay below."""

    what: str
    seconds: tuple[float, ...]
    wanted: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        text = f"{self.what:<58} {self.median * 1000:8.1f} ms   worst {max(self.seconds) * 1000:8.1f} ms"
        if self.wanted is None:
            return text
        return f"{text}   wanted < {self.wanted * 1000:.0f} ms: {'yes' if self.median < self.wanted else 'NO'}"


async def timed(
    what: str, work: Callable[[int], Awaitable[object]], *, rounds: int = 5, wanted: float | None = None
) -> Figure:
    """`work(n)`, one after another."""
    seconds = []
    for number in range(rounds):
        begin = time.perf_counter()
        await work(number)
        seconds.append(time.perf_counter() - begin)
    return Figure(what, tuple(seconds), wanted)
