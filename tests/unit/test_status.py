"""The state tables are total and can be walked; the words are the ones that interfaces.md fixes."""

from __future__ import annotations

from enum import StrEnum

import pytest

from usp.model import ListenerType
from usp.status import (
    TRANSITIONS,
    Intake,
    LinkState,
    ListenerState,
    ListenerStatus,
    Outcome,
    PushState,
    Report,
    ServerState,
    advance,
)

FIXED: dict[type[StrEnum], tuple[str, StrEnum]] = {
    ServerState: ("unknown unreachable pending running rejected", ServerState.UNKNOWN),
    ListenerState: ("stopped starting running failed stopping draining", ListenerState.STOPPED),
    Intake: ("open closing closed", Intake.OPEN),
    LinkState: ("handshaking up draining down", LinkState.HANDSHAKING),
    PushState: ("pending pushing applied rejected unreachable", PushState.PENDING),
}


@pytest.mark.parametrize("machine", FIXED)
def test_the_words_are_fixed(machine: type[StrEnum]) -> None:
    assert " ".join(machine) == FIXED[machine][0]


@pytest.mark.parametrize("machine", FIXED)
def test_the_table_covers_every_state_and_stays_in_the_machine(machine: type[StrEnum]) -> None:
    table = TRANSITIONS[machine]
    assert list(TRANSITIONS) == list(FIXED)
    assert set(table) == set(machine)
    for state, following in table.items():
        assert type(state) is machine
        assert state not in following
        assert all(type(to) is machine for to in following)


@pytest.mark.parametrize("machine", FIXED)
def test_every_state_can_be_reached(machine: type[StrEnum]) -> None:
    seen: set[StrEnum] = set()
    todo = {FIXED[machine][1]}
    while todo:
        state = todo.pop()
        seen.add(state)
        todo |= TRANSITIONS[machine][state] - seen
    assert seen == set(machine)


def test_advance_takes_the_steps_of_the_table_only() -> None:
    assert advance(LinkState.UP, LinkState.DOWN) is LinkState.DOWN
    assert advance(LinkState.UP, LinkState.UP) is LinkState.UP
    # the same words in two machines
    assert advance(ServerState.PENDING, ServerState.RUNNING) is ServerState.RUNNING
    assert advance(PushState.PENDING, PushState.PUSHING) is PushState.PUSHING
    with pytest.raises(AssertionError, match="LinkState: no step down -> up"):
        advance(LinkState.DOWN, LinkState.UP)


def test_the_outcomes_are_fixed() -> None:
    agreed = (
        "completed partner_closed target_closed auth_denied target_denied target_unreachable tunnel_down "
        "host_key_mismatch protocol_error target_protocol_error limit idle drained killed probe internal"
    )
    assert " ".join(Outcome) == agreed


def test_a_report_survives_the_wire() -> None:
    listener = ListenerStatus(
        id="l", name="n", type=ListenerType.TCP, address="::", port=22, state=ListenerState.RUNNING
    )
    report = Report(server="s", software="1", boot="b", started_at=1.5, listeners=(listener,))
    assert Report.model_validate_json(report.model_dump_json()) == report
