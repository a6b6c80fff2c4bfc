"""Who is waited for: every second counts for one side."""

from __future__ import annotations

from usp.server.waits import Side, Waits
from usp.sftp.records import Spent


def test_every_second_counts_for_one_side() -> None:
    now = 100.0
    waits = Waits(lambda: now)
    now = 101.0
    waits.turn(Side.TARGET)
    now = 103.0
    waits.turn(Side.TARGET)
    now = 104.0
    began = waits.spent()
    assert began == Spent(104.0, 1.0, 3.0, 0.0, 0.0)
    waits.turn(Side.TUNNEL)
    now = 108.0
    waits.turn(Side.GATEWAY)
    now = 113.0
    waits.turn(Side.PARTNER)
    now = 119.0
    assert waits.spent().since(began) == Spent(15.0, 6.0, 0.0, 4.0, 5.0)
