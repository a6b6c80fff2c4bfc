from __future__ import annotations

import pytest

from tests.unit.server.support import listener
from usp.server.advice import Facts, advice
from usp.server.dispatch import Link, SlotView
from usp.snapshot import PathSpec
from usp.status import LinkState

PATH = PathSpec(tunnel="t", client="c")
UP = Link(tunnel="t", source="192.0.2.1", client="c", state=LinkState.UP)
OPEN, TUNNELLED = listener("open", 1), listener("tunnelled", 2, path=PATH)
IDLE = (SlotView(0, True, 0), SlotView(1, True, 0))
BOTH = (OPEN, TUNNELLED)


@pytest.mark.parametrize(
    ("facts", "name", "expected"),
    [
        (Facts(IDLE, (OPEN,), 100), "", "ready up 100%"),
        (Facts((SlotView(0, True, 20), SlotView(1, True, 5)), (OPEN,), 100), "", "ready up 75%"),
        (Facts((SlotView(0, True, 0), SlotView(1, False, 0)), (OPEN,), 100), "open", "ready up 50%"),
        (Facts((SlotView(0, True, 0, (UP,)), SlotView(1, True, 0)), BOTH, 100), "tunnelled", "ready up 50%"),
        (Facts((SlotView(0, True, 0, (UP,)), SlotView(1, True, 0)), BOTH, 100), "", "ready up 75%"),
        (Facts((SlotView(0, True, 999),), (OPEN,), 1000), "", "ready up 1%"),
        (Facts((SlotView(0, True, 100),), (OPEN,), 100), "", "drain # no session more: max_sessions are there"),
        (Facts(IDLE, BOTH, 100), "tunnelled", "down # tunnel.down"),
        (Facts(IDLE, BOTH, 100), "open", "ready up 100%"),
        (Facts((SlotView(0, True, 0, down=frozenset({"open"})),), BOTH, 100), "open", "down # target.unreachable"),
        (Facts((SlotView(0, False, 0),), (OPEN,), 100), "", "down # no_worker"),
        (Facts(IDLE, (), 100), "", "down # nothing listens here"),
        (Facts(IDLE, BOTH, 100), "other", "down # no listener 'other' listens here"),
        (Facts(IDLE, BOTH, 100, drained=True), "open", "maint # an administrator drained the server"),
        (Facts(IDLE, BOTH, 100, True, True), "", "maint # the server is shutting down"),
    ],
)
def test_advice(facts: Facts, name: str, expected: str) -> None:
    assert advice(facts, name, "maint") == expected


def test_the_word_for_a_drained_server_is_a_setting() -> None:
    assert advice(Facts(IDLE, (OPEN,), 1, drained=True), "", "drain") == "drain # an administrator drained the server"


def test_a_question_cannot_forge_an_answer() -> None:
    assert "\n" not in advice(Facts(IDLE, (OPEN,), 1), "x\nready up", "maint")
