"""What sessions leave behind is freed soon after they have ended.

A session and its two connections know each other, so nothing of them is freed before Python's collector finds them. Of
what has lived for a while it looks at nothing until much more of it has come: hundreds of ended sessions would stay,
with their buffers and secrets, and the next ones would take memory anew.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

SECONDS: Final = 5.0
"""A look takes a fifth of a millisecond for ten sessions that are there: it may come often, but not for each end."""


class Sweep:
    """Of one worker, in its event loop."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._due: asyncio.TimerHandle | None = None

    def order(self) -> None:
        """Something has ended: `seconds` from now there will have been a look."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def _look(self) -> None:
        self._due = None
        gc.collect()
