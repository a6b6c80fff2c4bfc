from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.model import Address, Distribution
from usp.server import targets
from usp.server.targets import BARRED, FIRST, LAST, PENALISED, REFUSED, UNREACHABLE, Place, Targets, drawn, places
from usp.snapshot import PathSpec, TargetSpec

A, B, C = (Place(host, 22) for host in ("a", "b", "c"))


def weighted(*weights: int) -> TargetSpec:
    """At the addresses a, b, c, ..."""
    first, *others = (Address(host=host, weight=weight) for host, weight in zip("abcdefgh", weights, strict=False))
    return TargetSpec(
        id="t", name="t", host=first.host, port=first.port, weight=first.weight, alternates=tuple(others),
        host_keys=("k",), distribution=Distribution.WEIGHTED,
    )  # fmt: skip


def test_without_weights_the_order_is_that_of_the_configuration() -> None:
    path = PathSpec(tunnel="t1", client="c1")
    target = weighted(0, 7, 1).model_copy(update={"distribution": Distribution.ORDERED})
    assert drawn(target, path, Random(1).random) == places(target, path) == [Place(host, 22, path) for host in "abc"]
    assert str(places(target, path)[0]) == "a:22"
    assert str(Place("::1", 2022)) == "[::1]:2022"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_draw_has_every_place_once_and_spares_last(weights: list[int], random: Random) -> None:
    target = weighted(*weights)
    found = drawn(target, None, random.random)
    assert sorted(found, key=str) == places(target, None)
    spares = [place for place, weight in zip(places(target, None), weights, strict=True) if not weight]
    assert found[len(found) - len(spares) :] == spares


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 5, 0), (1000, 10)])
def test_shares_are_as_the_weights_are_and_so_are_those_of_what_is_left(weights: tuple[int, ...]) -> None:
    draws = 20_000
    random, target, total = Random(7), weighted(*weights), sum(weights)
    order = places(target, None)
    found = [drawn(target, None, random.random) for _ in range(draws)]
    first = Counter(each[0] for each in found)
    for place, weight in zip(order, weights, strict=True):
        assert abs(first[place] / draws - weight / total) < 0.015
    after_a = [each[1] for each in found if each[0] == order[0]]
    left = total - weights[0]
    for place, weight in list(zip(order, weights, strict=True))[1:]:
        assert abs(Counter(after_a)[place] / len(after_a) - weight / left) < 0.03


def test_a_spare_is_better_than_one_in_trouble_however_heavy() -> None:
    memory = Targets()
    memory.failed(A, UNREACHABLE, 0.0)
    random = Random(3)
    for _ in range(50):
        assert memory.order(drawn(weighted(1000, 0), None, random.random), 0.5) == [B, A]
    memory.failed(B, UNREACHABLE, 0.0)
    assert memory.order(drawn(weighted(1000, 0), None, random.random), 0.5) == [A, B]


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
