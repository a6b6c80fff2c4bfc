"""Who is waited for on a channel: at each moment one side, so that the seconds of all sides are those that pass.

    the partner   nothing is asked of the target, or the partner does not take what is sent to it
    the target    it has been asked, and has not answered all, or does not take what is sent to it
    the tunnel    the same, while the link to the client takes no more
    the gateway   a limit of bandwidth lets nothing pass

What answers take to come through a tunnel counts for the target: only it and the client could tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from usp.sftp.records import Spent


class Side(IntEnum):
    PARTNER = 0
    TARGET = 1
    TUNNEL = 2
    GATEWAY = 3


class Waits:
    """`clock` never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._side = Side.PARTNER
        self._seconds = [0.0, 0.0, 0.0, 0.0]

    def turn(self, side: Side) -> None:
        """From now on it is this side."""
        if side is not self._side:
            now = self._clock()
            self._seconds[self._side] += now - self._since
            self._since, self._side = now, side

    def spent(self) -> Spent:
        """Up to now."""
        now = self._clock()
        self._seconds[self._side] += now - self._since
        self._since = now
        return Spent(now, *self._seconds)
