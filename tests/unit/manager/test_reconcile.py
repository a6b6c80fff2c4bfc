"""Reconcile: each decision, and that interrupted work converges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.manager.reconcile import Action, Decision, Desired, Target, Unreachable, decide
from usp.model import ListenerType
from usp.snapshot import PROTOCOL
from usp.status import Intake, ListenerState, ListenerStatus, PushState, Report, ServerState, TunnelStatus

S = ListenerState
DESIRED = Desired(version=3, digest="d3")


def listener(id: str, state: ListenerState) -> ListenerStatus:
    return ListenerStatus(id=id, name=id.upper(), type=ListenerType.SFTP, address="0.0.0.0", port=22, state=state)


def tunnel(id: str, state: ListenerState) -> TunnelStatus:
    return TunnelStatus(id=id, name=id.upper(), address="0.0.0.0", port=23, state=state)


def report(version: int, **other: Any) -> Report:
    known: dict[str, Any] = {"digest": f"d{version}" if version else ""}
    return Report(server="s", software="0", boot="b", started_at=0.0, version=version, **{**known, **other})


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        (
            DESIRED,
            Unreachable("refused"),
            Decision(Action.WAIT, "The server does not answer: refused.", ServerState.UNREACHABLE, delay=7.0),
        ),
        (Desired(), report(0), Decision(Action.NONE, "Nothing was pushed to this server yet.", ServerState.PENDING)),
        (
            DESIRED,
            report(3, draining=True),
            Decision(Action.WAIT, "The server is shutting down.", ServerState.PENDING, delay=7.0),
        ),
        (DESIRED, report(3), Decision(Action.NONE, "Version 3 is in force.", ServerState.RUNNING)),
        (
            DESIRED,
            report(0),
            Decision(
                Action.PUSH,
                "The server runs no configuration; version 3 is due.",
                ServerState.PENDING,
                version=3,
                digest="d3",
            ),
        ),
        (
            DESIRED,
            report(2),
            Decision(
                Action.PUSH,
                "The server runs version 2; version 3 is due.",
                ServerState.PENDING,
                version=3,
                digest="d3",
            ),
        ),
        (
            replace(DESIRED, push=PushState.APPLIED, applied=3),
            report(0),
            Decision(
                Action.PUSH,
                "The server runs no configuration; version 3 is due.",
                ServerState.PENDING,
                version=3,
                digest="d3",
            ),
        ),
        (
            DESIRED,
            report(4),
            Decision(
                Action.NONE,
                "The server runs version 4, which is newer than version 3: push again to go on from there.",
                ServerState.REJECTED,
            ),
        ),
        (
            DESIRED,
            report(3, digest="other"),
            Decision(
                Action.NONE,
                "The server runs another content under version 3: push again to replace it.",
                ServerState.REJECTED,
            ),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED, applied=2),
            report(2),
            Decision(Action.NONE, "The server refused version 3; it waits for a newer one.", ServerState.REJECTED),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED, applied=2),
            report(0),
            Decision(
                Action.PUSH,
                "The server restarted; version 2 is the last that it accepted.",
                ServerState.REJECTED,
                version=2,
            ),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED, applied=2),
            report(1),
            Decision(
                Action.PUSH,
                "The server runs version 1; version 2 is the last that it accepted.",
                ServerState.REJECTED,
                version=2,
            ),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED, applied=1, offered=2),
            report(0),
            Decision(
                Action.PUSH,
                "The server restarted; version 2 is the last that it was offered and did not refuse.",
                ServerState.REJECTED,
                version=2,
            ),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED, applied=1, offered=2),
            report(1),
            Decision(Action.NONE, "The server refused version 3; it waits for a newer one.", ServerState.REJECTED),
        ),
        (
            replace(DESIRED, push=PushState.REJECTED),
            report(0),
            Decision(Action.NONE, "The server refused version 3; it waits for a newer one.", ServerState.REJECTED),
        ),
        (
            replace(DESIRED, push=PushState.UNREACHABLE),
            report(2),
            Decision(Action.WAIT, "The last push got no answer.", ServerState.PENDING, delay=7.0),
        ),
    ],
)
def test_decisions(desired: Desired, observed: Report | Unreachable, expected: Decision) -> None:
    assert decide(desired, observed, retry_in=7.0) == expected


def test_after_the_delay_a_push_is_tried_again() -> None:
    assert decide(replace(DESIRED, push=PushState.UNREACHABLE), report(2)).action is Action.PUSH


def test_stops_come_before_starts() -> None:
    desired = replace(DESIRED, run={"a": False, "b": True, "t": False, "gone": True})
    seen = report(3, listeners=(listener("a", S.RUNNING), listener("b", S.STOPPED)), tunnels=(tunnel("t", S.FAILED),))
    decision = decide(desired, seen)
    assert decision.action is Action.STOP
    assert decision.targets == (Target("listeners", "a", "A"), Target("tunnels", "t", "T"))
    assert decision.reason == "To be stopped, as an administrator wants it: A, T."
    seen = report(3, listeners=(listener("a", S.STOPPED), listener("b", S.STOPPED)), tunnels=(tunnel("t", S.STOPPING),))
    decision = decide(desired, seen)
    assert (decision.action, decision.state) == (Action.START, ServerState.RUNNING)
    assert decision.targets == (Target("listeners", "b", "B"),)


@pytest.mark.parametrize("intake", list(Intake))
def test_drained_or_not_comes_before_the_run_states(intake: Intake) -> None:
    seen = report(3, intake=intake, listeners=(listener("a", S.RUNNING),))
    wanted = decide(replace(DESIRED, drained=True, run={"a": False}), seen)
    unwanted = decide(replace(DESIRED, run={"a": False}), seen)
    if intake is Intake.OPEN:
        assert wanted.action is Action.DRAIN
        assert wanted.reason == "To refuse new sessions, as an administrator wants it."
        assert unwanted.action is Action.STOP
    else:
        assert wanted.action is Action.STOP
        assert unwanted.action is Action.UNDRAIN
        assert unwanted.reason == "To take new sessions, as an administrator wants it."
        done = decide(replace(DESIRED, drained=True), seen)
        assert (done.action, done.state) == (Action.NONE, ServerState.RUNNING)
        assert done.reason == "Version 3 is in force. An administrator drained the server."


@pytest.mark.parametrize(
    ("protocol", "action"), [(PROTOCOL - 1, Action.PUSH), (PROTOCOL + 1, Action.PUSH), (PROTOCOL + 2, Action.NONE)]
)
def test_one_release_of_skew(protocol: int, action: Action) -> None:
    decision = decide(DESIRED, report(2, protocol=protocol))
    assert decision.action is action
    if action is Action.NONE:
        assert decision.state is ServerState.REJECTED
        words = f"The server speaks protocol {PROTOCOL + 2}, this manager {PROTOCOL}: upgrade the older one."
        assert decision.reason == words


@pytest.mark.parametrize(("seen", "state"), [(3, ServerState.RUNNING), (2, ServerState.PENDING)])
def test_what_the_server_runs_is_noted_before_anything_else(seen: int, state: ServerState) -> None:
    """Whoever pushed it could not do so: it died, or the answer got lost."""
    decision = decide(replace(DESIRED, unrecorded=True, push=PushState.UNREACHABLE), report(seen), retry_in=7.0)
    reason = f"The server runs version {seen}; that is noted now."
    assert decision == Decision(Action.RECORD, reason, state, version=seen)


def test_a_version_comes_before_a_drain() -> None:
    assert decide(replace(DESIRED, drained=True), report(2)).action is Action.PUSH


@pytest.mark.parametrize("state", list(S))
def test_which_states_call_for_a_stop_or_a_start(state: ListenerState) -> None:
    def action(run: dict[str, bool]) -> Action:
        return decide(replace(DESIRED, run=run), report(3, listeners=(listener("a", state),))).action

    assert action({}) is Action.NONE
    assert (action({"a": False}) is Action.STOP) == (state in {S.RUNNING, S.STARTING, S.FAILED})
    assert (action({"a": True}) is Action.START) == (state in {S.STOPPED, S.FAILED})


def test_run_states_hold_under_a_refused_version_too() -> None:
    desired = replace(DESIRED, push=PushState.REJECTED, applied=2, run={"a": False})
    decision = decide(desired, report(2, listeners=(listener("a", S.RUNNING),)))
    assert (decision.action, decision.state) == (Action.STOP, ServerState.REJECTED)


class World:
    """A server and what the store knows of it. Actions may get lost on the way there or on the way back."""

    def __init__(self, desired: Desired, bad: bool, startup: dict[str, bool]) -> None:
        self.desired = desired
        self.bad = bad  # the server refuses the newest version
        self.startup = startup
        self.version = 0
        self.running: dict[str, bool] = {}

    def restart(self) -> None:
        self.version, self.running = 0, {}

    def seen(self) -> Report:
        states = [listener(id, S.RUNNING if on else S.STOPPED) for id, on in self.running.items()]
        return report(self.version, listeners=tuple(states))

    def perform(self, decision: Decision, arrives: bool, answered: bool) -> None:
        if decision.action is Action.PUSH:
            self._push(decision.version, arrives, answered)
        elif decision.action in (Action.START, Action.STOP) and arrives:
            for target in decision.targets:
                self.running[target.id] = decision.action is Action.START

    def _push(self, version: int, arrives: bool, answered: bool) -> None:
        refused = self.bad and version == self.desired.version
        if arrives and not refused:
            assert version >= self.version, "an older version was pushed"
            self.version, self.running = version, self.running or dict(self.startup)
        if version == self.desired.version and arrives and answered:
            state = PushState.REJECTED if refused else PushState.APPLIED
            self.desired = replace(self.desired, push=state, applied=self.desired.applied if refused else version)
        elif version == self.desired.version:
            self.desired = replace(self.desired, push=PushState.UNREACHABLE)


steps = st.lists(
    st.sampled_from(["done", "lost on the way there", "lost on the way back", "server restarts", "manager restarts"]),
    max_size=12,
)
wishes = st.dictionaries(st.sampled_from("abc"), st.booleans())


@given(history=steps, run=wishes, startup=wishes, bad=st.booleans(), applied=st.sampled_from([0, 2]))
@settings(max_examples=200, deadline=None)
def test_interrupted_after_any_action_it_converges(
    history: list[str], run: dict[str, bool], startup: dict[str, bool], bad: bool, applied: int
) -> None:
    world = World(Desired(version=3, digest="d3", applied=applied, run=run), bad, startup)
    for happening in history:
        decision = decide(world.desired, world.seen())
        if happening == "server restarts":
            world.restart()
        elif happening != "manager restarts":
            arrives = happening != "lost on the way there"
            world.perform(decision, arrives, answered=arrives and happening != "lost on the way back")
    decided = []
    for _ in range(5):
        decision = decide(world.desired, world.seen())
        decided.append(decision.action)
        world.perform(decision, arrives=True, answered=True)
    assert decided[-1] is Action.NONE, decided
    assert world.version == (applied if bad else 3)
    assert all(on == run.get(id, startup[id]) for id, on in world.running.items() if id in startup)


def test_nothing_wanted_nothing_done() -> None:
    assert decide(Desired(), report(2)).action is Action.NONE
