"""A rollout: a push to several servers, one after another. Pure: what it is, and what becomes of it next.

Each server is a step. A step begins by making the server's version, and is settled when the server applied or refused
it, or took too long. With a *canary* the first step must also be healthy before the others begin: a fresh report, a
ready worker, and every port that shall listen does. A refusal, and a canary that is not healthy in time, stop it:
servers whose turn has not come keep what they have.

Whoever holds a rollout's lease moves it on (usp.manager.rollouts); all that is known of it is in the store, so any
manager may go on where another one stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from usp import plan as planning
from usp.plan import RunStates
from usp.snapshot import Snapshot
from usp.status import ListenerState, PushState, Report, ServerState


class RolloutState(StrEnum):
    """What became of a push to several servers."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class StepState(StrEnum):
    """What became of it on one server."""

    WAITING = "waiting"  # its turn has not come
    PUSHING = "pushing"
    APPLIED = "applied"
    REJECTED = "rejected"
    LATE = "late"  # not applied (a canary: not healthy) in time; the version stays wanted
    SKIPPED = "skipped"  # its turn never came


SETTLED: Final = frozenset(StepState) - {StepState.WAITING, StepState.PUSHING}


@dataclass(frozen=True, slots=True)
class Step:
    """`version` 0: none yet; `unchanged`: the server had it already; `since`: when its turn came."""

    server: str
    state: StepState = StepState.WAITING
    version: int = 0
    unchanged: bool = False
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """`patience`: seconds that each server gets; `id` 0 until stored."""

    author: str
    at: datetime
    comment: str
    catalog_revision: int
    canary: bool
    force: bool
    patience: float
    steps: tuple[Step, ...]
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""
    ended_at: datetime | None = None
    id: int = 0

    @property
    def place(self) -> int | None:
        """Of the step whose turn it is."""
        return next((place for place, step in enumerate(self.steps) if step.state not in SETTLED), None)

    @property
    def current(self) -> Step | None:
        return None if self.place is None else self.steps[self.place]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a step's version and server. `newest`: the server's newest version."""

    push: PushState
    reason: str
    newest: int
    server: ServerState
    why: str
    report: Report | None
    seen_at: datetime | None
    checked_at: datetime | None
    snapshot: Snapshot = field(repr=False)
    run_states: RunStates = field(default_factory=dict)


def begun(rollout: Rollout, version: int, *, unchanged: bool, now: datetime) -> Rollout:
    """The step whose turn it is has its version."""
    return _changed(rollout, state=StepState.PUSHING, version=version, unchanged=unchanged, since=now)


def looked(rollout: Rollout, seen: Seen, now: datetime) -> Rollout:
    """After a look at the server whose turn it is."""
    step = rollout.current
    assert step is not None
    assert step.since is not None
    canary = rollout.canary and rollout.place == 0
    if seen.push is PushState.REJECTED:
        return _stopped(rollout, StepState.REJECTED, seen.reason, f"{step.server} refused version {step.version}", now)
    lacking = _lacking(step, seen, healthy=canary)
    if not lacking:
        return _ended(_changed(rollout, state=StepState.APPLIED, reason=""), now)
    gone = not canary and seen.server is ServerState.UNREACHABLE and _after(seen.checked_at, step.since)
    late = (now - step.since).total_seconds() >= rollout.patience or seen.newest > step.version
    if not (gone or late):
        return _changed(rollout, reason=lacking)
    if canary:
        return _stopped(rollout, StepState.LATE, lacking, f"{step.server} is not healthy: {lacking}", now)
    return _ended(_changed(rollout, state=StepState.LATE, reason=lacking), now)


def _lacking(step: Step, seen: Seen, *, healthy: bool) -> str:
    """What is missing until the step is applied, and healthy if that is asked for."""
    if seen.newest > step.version:
        return f"version {seen.newest} was pushed meanwhile"
    if seen.push is not PushState.APPLIED:
        unreachable = seen.server is ServerState.UNREACHABLE
        return seen.why if unreachable else f"version {step.version} is not applied yet"
    if not healthy:
        return ""
    if seen.report is None or not _after(seen.seen_at, step.since):
        return "it has not reported since"
    return next(_ills(step, seen, seen.report), "")


def _ills(step: Step, seen: Seen, report: Report) -> Iterator[str]:
    if (report.version, report.digest) != (step.version, seen.snapshot.digest):
        yield f"it runs version {report.version}"
    if report.draining:
        yield "it is shutting down"
    if not any(slot.ready for slot in report.slots):
        yield "no worker process is ready"
    states = {each.id: (each.state, each.reason) for each in report.listeners}
    states |= {each.id: (each.state, each.reason) for each in report.tunnels}
    for _, spec in planning.specs(seen.snapshot):
        state, reason = states.get(spec.id, (ListenerState.STOPPED, ""))
        if planning.is_wanted(spec, seen.run_states) and state is not ListenerState.RUNNING:
            yield f"'{spec.name}' is {state}" + (f": {reason}" if reason else "")


def _after(moment: datetime | None, since: datetime | None) -> bool:
    return moment is not None and since is not None and moment > since


def _changed(rollout: Rollout, **changes: Any) -> Rollout:
    """With the step whose turn it is changed."""
    place, step = rollout.place, rollout.current
    assert place is not None
    assert step is not None
    return replace(rollout, steps=(*rollout.steps[:place], replace(step, **changes), *rollout.steps[place + 1 :]))


def _ended(rollout: Rollout, now: datetime) -> Rollout:
    """Done, if that was the last step."""
    return rollout if rollout.current else replace(rollout, state=RolloutState.DONE, ended_at=now)


def _stopped(rollout: Rollout, state: StepState, reason: str, why: str, now: datetime) -> Rollout:
    """The step ends it; the others' turns never come."""
    stopped = _changed(rollout, state=state, reason=reason)
    steps = tuple(
        replace(step, state=StepState.SKIPPED) if step.state is StepState.WAITING else step for step in stopped.steps
    )
    return replace(stopped, steps=steps, state=RolloutState.STOPPED, reason=why, ended_at=now)
