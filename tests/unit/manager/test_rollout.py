"""Pushes to several servers: each decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.server.support import listener, snapshot, tunnel
from usp.manager.rollout import Rollout, RolloutState, Seen, Step, StepState, begun, looked
from usp.model import ListenerType, Startup
from usp.status import (
    ListenerState,
    ListenerStatus,
    PushState,
    Report,
    ServerState,
    SlotStatus,
    TunnelStatus,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SOON = START + timedelta(seconds=5)
LATER = START + timedelta(seconds=60)
SNAPSHOT = snapshot(7, listener("auto", 1), listener("manual", 2, startup=Startup.MANUAL), tunnel("tun", 3))


def rollout(*servers: str, canary: bool = True) -> Rollout:
    made = Rollout(
        author="ann",
        at=START,
        comment="",
        catalog_revision=1,
        canary=canary,
        force=False,
        patience=60.0,
        steps=tuple(map(Step, servers)),
    )
    return begun(made, 7, unchanged=False, now=START)


def report(auto: ListenerState = ListenerState.RUNNING, **other: Any) -> Report:
    def port(id: str, state: ListenerState, reason: str = "") -> ListenerStatus:
        kind = ListenerType.SFTP
        return ListenerStatus(id=id, name=id, type=kind, address="::", port=1, state=state, reason=reason)

    fields: dict[str, Any] = {
        "version": 7,
        "digest": SNAPSHOT.digest,
        "slots": (SlotStatus(slot=0, pid=1, ready=True, sessions=0, restarts=0),),
        "listeners": (port("auto", auto, "in use"), port("manual", ListenerState.STOPPED)),
        "tunnels": (TunnelStatus(id="tun", name="tun", address="::", port=3, state=ListenerState.RUNNING),),
    }
    return Report(server="s", software="1", boot="b", started_at=0.0, **{**fields, **other})


def seen(push: PushState = PushState.APPLIED, **other: Any) -> Seen:
    healthy = Seen(
        push=push,
        reason="",
        newest=7,
        server=ServerState.RUNNING,
        why="",
        report=report(),
        seen_at=SOON,
        checked_at=SOON,
        snapshot=SNAPSHOT,
    )
    return replace(healthy, **other)


def states(made: Rollout) -> list[str]:
    return [step.state.value for step in made.steps]


def test_one_after_another_until_done() -> None:
    made = rollout("a", "b")
    assert made.steps[0] == Step("a", StepState.PUSHING, 7, since=START)
    made = looked(made, seen(), SOON)
    assert (states(made), made.state) == (["applied", "waiting"], RolloutState.RUNNING)
    made = begun(made, 3, unchanged=True, now=SOON)
    assert (made.steps[1].version, made.steps[1].unchanged) == (3, True)
    made = looked(made, seen(newest=3, report=None), LATER)
    assert (states(made), made.state, made.ended_at) == (["applied"] * 2, RolloutState.DONE, LATER)
    assert (made.current, made.place) == (None, None)


@pytest.mark.parametrize("place", [0, 1])
def test_a_refusal_stops_it(place: int) -> None:
    made = rollout("a", "b", "c")
    if place:
        made = begun(looked(made, seen(), SOON), 7, unchanged=False, now=SOON)
    made = looked(made, seen(PushState.REJECTED, reason="port 1 is in use"), SOON)
    assert states(made) == ["applied"] * place + ["rejected"] + ["skipped"] * (2 - place)
    assert (made.state, made.steps[place].reason) == (RolloutState.STOPPED, "port 1 is in use")
    assert made.reason == f"{'ab'[place]} refused version 7"
    assert made.ended_at == SOON


NOT_HEALTHY: list[tuple[Seen, str]] = [
    (seen(PushState.PUSHING), "version 7 is not applied yet"),
    (seen(PushState.PENDING, server=ServerState.UNREACHABLE, why="no answer"), "no answer"),
    (seen(report=None), "it has not reported since"),
    (seen(seen_at=None), "it has not reported since"),
    (seen(seen_at=START), "it has not reported since"),
    (seen(report=report(version=6)), "it runs version 6"),
    (seen(report=report(digest="other")), "it runs version 7"),
    (seen(report=report(draining=True)), "it is shutting down"),
    (seen(report=report(slots=())), "no worker process is ready"),
    (seen(report=report(ListenerState.FAILED)), "'auto' is failed: in use"),
    (seen(report=report(tunnels=())), "'tun' is stopped"),
    (seen(run_states={"manual": True}), "'manual' is stopped"),
]


@pytest.mark.parametrize(("found", "reason"), NOT_HEALTHY)
def test_a_canary_must_be_healthy_in_time(found: Seen, reason: str) -> None:
    waiting = looked(rollout("a", "b"), found, SOON)
    assert (states(waiting), waiting.steps[0].reason) == (["pushing", "waiting"], reason)
    stopped = looked(waiting, found, LATER)
    assert (states(stopped), stopped.state) == (["late", "skipped"], RolloutState.STOPPED)
    assert stopped.reason == f"a is not healthy: {reason}"
    assert states(looked(waiting, seen(), LATER)) == ["applied", "waiting"]


def test_what_an_administrator_stopped_is_no_illness() -> None:
    found = seen(report=report(ListenerState.STOPPED), run_states={"auto": False})
    assert states(looked(rollout("a"), found, SOON)) == ["applied"]


@pytest.mark.parametrize(("found", "reason"), NOT_HEALTHY[2:])
def test_others_need_only_apply_it(found: Seen, reason: str) -> None:
    assert states(looked(rollout("a", canary=False), found, SOON)) == ["applied"]


def test_others_that_are_late_hold_nobody_up() -> None:
    made = rollout("a", "b", canary=False)
    slow = seen(PushState.PUSHING)
    assert states(looked(made, slow, SOON)) == ["pushing", "waiting"]
    late = looked(made, slow, LATER)
    assert (states(late), late.state) == (["late", "waiting"], RolloutState.RUNNING)
    gone = seen(PushState.PENDING, server=ServerState.UNREACHABLE, why="no answer")
    assert states(looked(made, gone, SOON)) == ["late", "waiting"], "who is away is not waited for"
    assert states(looked(made, replace(gone, checked_at=START), SOON)) == ["pushing", "waiting"]
    assert states(looked(made, replace(gone, checked_at=None), SOON)) == ["pushing", "waiting"]


def test_a_newer_version_ends_the_wait() -> None:
    found = seen(PushState.PUSHING, newest=8)
    assert states(looked(rollout("a", "b", canary=False), found, SOON)) == ["late", "waiting"]
    stopped = looked(rollout("a", "b"), found, SOON)
    assert (states(stopped), stopped.reason) == (
        ["late", "skipped"],
        "a is not healthy: version 8 was pushed meanwhile",
    )
