"""When a certificate is to be renewed: the steps at which everybody is told, and how. Moments are Unix time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

DAY: Final = 86_400
STEPS: Final = (1, 7, 30)
"""Days before the end at which it is told anew, the most urgent first."""
EXPIRED: Final = 0


def step(until: float, now: float) -> int | None:
    """The most urgent step that is reached; None while there is time."""
    left = until - now
    return EXPIRED if left <= 0 else next((days for days in STEPS if left <= days * DAY), None)


def warning(name: str, until: float, now: float) -> str:
    """A sentence for people; "" while there is time."""
    if step(until, now) is None:
        return ""
    day = datetime.fromtimestamp(until, UTC).date().isoformat()
    left = int((until - now) // DAY)
    if until <= now:
        return f"certificate {name} expired on {day}: renew it"
    when = "in less than a day" if left < 1 else "in 1 day" if left == 1 else f"in {left} days"
    return f"certificate {name} expires {when}, on {day}: renew it"
