"""Connections refused at accept: counted all, told without flooding the log.

Per reason and port, one line at once and then at most one a second that says how many more. What strangers cause (IP
Filter, penalties, which the ledger tells) and what an administrator wants is told at debug level only; what an operator
must mend is a warning.
"""

from __future__ import annotations

import asyncio
from typing import Final

from usp import metrics
from usp.log import get_logger
from usp.server.dispatch import Refusal
from usp.settings import LogLevel

log = get_logger(__name__)

INTERVAL: Final = 1.0


EXPECTED: Final = frozenset({Refusal.FILTER, Refusal.PENALTY, Refusal.DRAINED})
"""Nobody has to mend these."""


class Refusals:
    def __init__(self) -> None:
        self._more: dict[tuple[Refusal, str], int] = {}
        self._timers: dict[tuple[Refusal, str], asyncio.TimerHandle] = {}

    def tell(self, refusal: Refusal, name: str, peer: str, why: str = "") -> None:
        """A connection from `peer` to the listener or tunnel `name` was refused; `why` says more in plain words."""
        metrics.REFUSED_TOTAL.labels(refusal).inc()
        if refusal in EXPECTED:
            if log.is_on(LogLevel.DEBUG):
                log.debug("connection.refused", code=refusal, listener=name, peer=peer)
        elif (refusal, name) in self._timers:
            self._more[refusal, name] = self._more.get((refusal, name), 0) + 1
        else:
            more = {"reason": why} if why else {}
            log.warn("connection.refused", code=refusal, listener=name, peer=peer, **more)
            self._later(refusal, name)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _later(self, refusal: Refusal, name: str) -> None:
        self._timers[refusal, name] = asyncio.get_running_loop().call_later(INTERVAL, self._sum_up, refusal, name)

    def _sum_up(self, refusal: Refusal, name: str) -> None:
        del self._timers[refusal, name]
        if count := self._more.pop((refusal, name), 0):
            log.warn("connection.refused", code=refusal, listener=name, times=count)
            self._later(refusal, name)
