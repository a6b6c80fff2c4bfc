"""How long to wait before trying again: exponential, with jitter, so that many who failed together come back apart."""

from __future__ import annotations


def delay(attempt: int, random: float, initial: float, maximum: float) -> float:
    """Seconds to wait before repetition `attempt` (0 = the first). `random` is drawn evenly from [0, 1).

    Anything between half of `initial` and the ceiling, which doubles with each attempt up to `maximum`.
    """
    ceiling = min(maximum, initial * 2.0 ** min(attempt, 64))
    floor = min(initial / 2, ceiling)
    return floor + random * (ceiling - floor)
