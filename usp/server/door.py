"""The door of a server: whether new sessions are let in, and what load balancers are told about it.

An administrator drains a server before maintenance: new sessions are refused, what runs goes on. Where load balancers
ask (usp.server.agent), they are told first, and nobody is refused until they have had time to look.
"""

from __future__ import annotations

import asyncio
from typing import Final

from usp.log import get_logger
from usp.server.reception import Reception
from usp.settings import AgentSettings
from usp.status import Intake, advance

log = get_logger(__name__)

REASON: Final = "an administrator drained the server"
_NEW_ONES: Final = {Intake.CLOSING: "taken for a moment yet", Intake.CLOSED: "refused"}


class Door:
    def __init__(self, settings: AgentSettings, reception: Reception) -> None:
        self.intake = Intake.OPEN
        self._notice = settings.notice if settings.port else 0.0
        self._reception = reception
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> str:
        """Why new sessions are not let in, or soon will not be; or ""."""
        return "" if self.intake is Intake.OPEN else f"{REASON}: new sessions are {_NEW_ONES[self.intake]}"

    def set_drained(self, drained: bool, *, serving: bool) -> None:
        """`serving`: somebody may be on the way here, so load balancers are told first."""
        if drained is (self.intake is not Intake.OPEN):
            return
        if self._timer is not None:
            self._timer.cancel()
        if drained and serving and self._notice:
            self._take(Intake.CLOSING)
            self._timer = asyncio.get_running_loop().call_later(self._notice, self._take, Intake.CLOSED)
        else:
            self._take(Intake.CLOSED if drained else Intake.OPEN)

    def _take(self, intake: Intake) -> None:
        self.intake = advance(self.intake, intake)
        self._reception.closed = intake is Intake.CLOSED
        log.info("intake", state=intake)
