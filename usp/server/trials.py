"""Trials: a worker shows a partner's password to a target only with leave of the supervisor's `guard`.

The question costs a message there and one back, which is little beside the login at the target that it is for. Logins
with dedicated credentials ask nobody, nor do partners from exempt sources.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from usp.server.messages import MayTry, Result, Tried, Verdict


@dataclass(slots=True)
class Trial:
    """`result` is what came of it if nobody says otherwise: the partner went away meanwhile, but the target had it."""

    granted: bool = True
    result: Result = Result.DENIED


def free() -> AbstractAsyncContextManager[Trial]:
    """Nobody is asked."""
    return nullcontext(Trial())


class Trials:
    def __init__(self, tell: Callable[[MayTry | Tried], object]) -> None:
        self._tell = tell
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Verdict]] = {}

    @asynccontextmanager
    async def trial(self, session: str, target: str, username: str) -> AsyncIterator[Trial]:
        """The supervisor hears what came of it when this ends."""
        attempt = next(self._numbers)
        trial = Trial(granted=False, result=Result.UNTRIED)
        try:
            verdict = await self._verdict(session, attempt, target, username)
            if verdict.granted:
                trial = Trial()
            else:
                await asyncio.sleep(verdict.seconds)
            yield trial
        finally:
            self._tell(Tried(session=session, attempt=attempt, result=trial.result))

    def answered(self, verdict: Verdict) -> None:
        answer = self._asked.get(verdict.attempt)
        if answer is not None and not answer.done():
            answer.set_result(verdict)

    async def _verdict(self, session: str, attempt: int, target: str, username: str) -> Verdict:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._asked[attempt] = answer
        self._tell(MayTry(session=session, attempt=attempt, target=target, username=username))
        try:
            return await answer
        finally:
            del self._asked[attempt]
