"""What a session moves."""

from __future__ import annotations

from usp import metrics
from usp.server.meter import Meter


def test_what_was_moved_since_the_last_time_counts_and_tells_the_rate() -> None:
    counted = [metrics.BYTES_TOTAL.labels("metered", direction)._value for direction in ("in", "out")]
    meter = Meter("metered", 10.0)
    assert (meter.rate_in, meter.rate_out) == (0, 0)
    meter.read(1000, 50, 12.0)
    assert (meter.rate_in, meter.rate_out) == (500, 25)
    meter.read(1000, 5000, 14.0)
    assert (meter.rate_in, meter.rate_out) == (0, 2475)
    meter.read(1001, 5000, 14.0)
    assert meter.rate_in == 10
    assert [each.get() for each in counted] == [1001, 5000]
