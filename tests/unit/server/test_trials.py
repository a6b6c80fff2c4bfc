from __future__ import annotations

import asyncio

import pytest

from usp.server.messages import MayTry, Result, Tried, Verdict
from usp.server.trials import Trials, free

Told = list[MayTry | Tried]


async def _asking(trials: Trials, told: Told, results: list[bool], result: Result) -> None:
    async with trials.trial("s", "target", "alice") as trial:
        results.append(trial.granted)
        if trial.granted:
            trial.result = result


async def _begun(trials: Trials, told: Told, result: Result = Result.DENIED) -> tuple[asyncio.Task[None], list[bool]]:
    results: list[bool] = []
    task = asyncio.ensure_future(_asking(trials, told, results, result))
    await asyncio.sleep(0)
    return task, results


async def test_what_came_of_it_is_told() -> None:
    told: Told = []
    trials = Trials(told.append)
    task, results = await _begun(trials, told, Result.ACCEPTED)
    trials.answered(Verdict(attempt=99, granted=False))
    trials.answered(Verdict(attempt=1, granted=True))
    trials.answered(Verdict(attempt=1, granted=False))
    await task
    assert results == [True]
    assert told == [
        MayTry(session="s", attempt=1, target="target", username="alice"),
        Tried(session="s", attempt=1, result=Result.ACCEPTED),
    ]
    assert not trials._asked


async def test_a_denial_takes_as_long_as_the_targets() -> None:
    told: Told = []
    trials = Trials(told.append)
    task, results = await _begun(trials, told)
    trials.answered(Verdict(attempt=1, granted=False, seconds=0.05))
    began = asyncio.get_running_loop().time()
    await task
    assert asyncio.get_running_loop().time() - began >= 0.049
    assert results == [False]
    assert told[-1] == Tried(session="s", attempt=1, result=Result.UNTRIED)


async def test_who_goes_away_while_it_waits_takes_the_question_back() -> None:
    told: Told = []
    trials = Trials(told.append)
    task, results = await _begun(trials, told)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not results
    assert told[-1] == Tried(session="s", attempt=1, result=Result.UNTRIED)
    assert not trials._asked


async def test_who_goes_away_while_the_target_decides_counts_as_denied() -> None:
    told: Told = []
    trials = Trials(told.append)

    async def ask() -> None:
        async with trials.trial("s", "target", "alice"):
            await asyncio.sleep(60)

    task = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    trials.answered(Verdict(attempt=1, granted=True))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told[-1] == Tried(session="s", attempt=1, result=Result.DENIED)


async def test_free_asks_nobody() -> None:
    async with free() as trial:
        assert trial.granted
