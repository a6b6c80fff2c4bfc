from __future__ import annotations

import pytest

from usp.model import Address
from usp.server import targets
from usp.server.targets import BARRED, FIRST, LAST, PENALISED, REFUSED, UNREACHABLE, Place, Targets

A, B, C = (Place(Address(host=host)) for host in ("a", "b", "c"))


def test_what_is_in_trouble_comes_last_and_the_order_stays_otherwise() -> None:
    memory = Targets()
    assert memory.order([A, B, C], 0.0) == [A, B, C]
    memory.failed(A, UNREACHABLE, 0.0)
    assert memory.order([A, B, C], 0.5) == [B, C, A]
    memory.failed(B, UNREACHABLE, 0.0)
    memory.failed(C, REFUSED, 0.0)
    assert memory.order([A, B, C], 0.5) == [A, B, C], "all are in trouble"


def test_the_cool_down_doubles_up_to_its_limit() -> None:
    memory = Targets()
    found = []
    for _ in range(5):
        memory.failed(A, UNREACHABLE, 100.0)
        found.append(memory.wait(A, 100.0))
    assert found == [FIRST, 2 * FIRST, LAST, LAST, LAST]
    memory.failed(A, BARRED, 100.0)
    assert memory.wait(A, 100.0) == PENALISED
    assert memory.wait(A, 100.0 + PENALISED) == 0.0
    assert memory.wait(B, 100.0) == 0.0


def test_down_until_it_takes_connections_and_in_doubt_until_it_answers() -> None:
    memory = Targets()
    memory.failed(A, UNREACHABLE, 0.0)
    assert memory.down(A)
    assert not memory.down(B)
    assert memory.order([A, B], 99.0) == [B, A], "time alone heals nothing"
    memory.opened(A, 99.0)
    assert not memory.down(A)
    assert memory.order([A, B], 99.0) == [A, B]
    memory.failed(A, UNREACHABLE, 99.0)
    assert memory.wait(A, 99.0) == 2 * FIRST, "what failed before still counts"
    assert memory.answered(A)
    assert not memory.answered(A)
    memory.opened(A, 99.0)
    assert memory.order([A, B], 99.0) == [A, B]


def test_who_hung_up_on_one_is_not_down() -> None:
    memory = Targets()
    memory.failed(A, REFUSED, 0.0)
    assert not memory.down(A)
    assert memory.order([A, B], 0.5) == [B, A]
    assert memory.order([A, B], FIRST) == [A, B]


def test_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MAX_PLACES", 2)
    memory = Targets()
    for place in (A, B, A, C):
        memory.failed(place, UNREACHABLE, 0.0)
    assert [place for place in (A, B, C) if memory.down(place)] == [A, C]
