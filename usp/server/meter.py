"""How much a session moves, and how fast it is just now: measured every few seconds, for the metrics and the list of
sessions."""

from __future__ import annotations

from usp import metrics


class Meter:
    """`bytes_in` come from the partner. Rates are bytes per second, between the last two times that it was read."""

    def __init__(self, listener: str, now: float) -> None:
        self.rate_in = self.rate_out = 0.0
        self._counters = [metrics.BYTES_TOTAL.labels(listener, direction) for direction in ("in", "out")]
        self._before = (0, 0)
        self._at = now

    def read(self, bytes_in: int, bytes_out: int, now: float) -> None:
        moved = bytes_in - self._before[0], bytes_out - self._before[1]
        for counter, more in zip(self._counters, moved, strict=True):
            counter.inc(more)
        seconds = max(now - self._at, 0.1)
        self.rate_in, self.rate_out = (round(more / seconds, 1) for more in moved)
        self._before, self._at = (bytes_in, bytes_out), now
