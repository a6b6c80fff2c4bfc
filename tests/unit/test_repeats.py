"""What is said again and again is told a few times, then counted; every line is told or counted, once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from usp.repeats import Key, Repeats


def key(told: str = "", event: str = "session.failed", level: str = "WARN") -> Key:
    return Key(level, event, (("code", told),) if told else ())


def test_the_first_lines_of_a_window_are_told_and_the_rest_are_summed_up_once() -> None:
    repeats = Repeats(per_key=2, per_event=10, window=5.0)
    assert [repeats.holds(key("a"), at) for at in (0.0, 1.0, 2.0, 3.0)] == [False, False, True, True]
    assert repeats.due(4.9) == {}
    assert repeats.due(5.0) == {key("a"): 2}
    assert repeats.due(5.0) == {}


def test_after_the_window_a_line_is_told_again_and_the_count_is_not_forgotten() -> None:
    repeats = Repeats(per_key=1, per_event=10, window=5.0)
    assert [repeats.holds(key("a"), at) for at in (0.0, 1.0, 5.0, 6.0)] == [False, True, False, True]
    assert repeats.due(6.0) == {key("a"): 1}
    assert repeats.due(10.0) == {key("a"): 1}


def test_what_differs_is_told() -> None:
    repeats = Repeats(per_key=1, per_event=10, window=5.0)
    others = [key("a"), key("b"), key("a", event="target.down"), key("a", level="ERROR"), key()]
    assert not any(repeats.holds(each, 0.0) for each in others)


def test_lines_without_details_are_as_many_as_those_of_one_key() -> None:
    repeats = Repeats(per_key=2, per_event=10, window=5.0)
    assert [repeats.holds(key(), 0.0) for _ in range(3)] == [False, False, True]
    assert repeats.due(5.0) == {key(): 1}


def test_an_event_whose_details_always_differ_is_bounded_too() -> None:
    repeats = Repeats(per_key=2, per_event=5, window=5.0)
    held = [repeats.holds(key(str(number)), 0.0) for number in range(1000)]
    assert held == [False] * 5 + [True] * 995
    assert len(repeats._keys) == 5
    assert repeats.due(5.0) == {key(): 995}
    assert not repeats._keys
    assert not repeats._events


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=200))
def test_every_line_is_told_or_counted(lines: list[tuple[str, float]]) -> None:
    repeats = Repeats(per_key=2, per_event=4, window=5.0)
    now, told, counted = 0.0, 0, Counter[Key]()
    for name, later in lines:
        now += later
        told += not repeats.holds(key(name), now)
        if later > 2:
            counted.update(repeats.due(now))
    counted.update(repeats.due(now + 5.0))
    assert told + counted.total() == len(lines)
