"""The target guard's rules, one by one, and against OpenSSH's own arithmetic; times are made up."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.limits import Limits
from usp.server import guard as guards
from usp.server.guard import Answer, Guard
from usp.server.messages import Result

GRANTED, WAIT, DENIED = Answer.GRANTED, Answer.WAIT, Answer.DENIED
_numbers = itertools.count()


def made(**limits: Any) -> Guard:
    return Guard(Limits(**limits))


def attempt(guard: Guard, who: str, result: Result, now: float = 0.0, target: str = "t") -> Answer:
    """`who`: source/user name. What is granted ends at once with this result."""
    id = (f"s{next(_numbers)}", 1)
    source, username = who.split("/")
    answer = guard.ask(id, target, source, username, now)
    guard.tried(id, result if answer is GRANTED else Result.UNTRIED, now)
    assert not list(guard.decided(now))
    return answer


def wrong(guard: Guard, who: str, now: float = 0.0, target: str = "t") -> Answer:
    return attempt(guard, who, Result.DENIED, now, target)


def right(guard: Guard, who: str, now: float = 0.0, target: str = "t") -> Answer:
    return attempt(guard, who, Result.ACCEPTED, now, target)


def test_a_spray_uses_up_the_budget_of_the_target() -> None:
    guard = made()
    assert [wrong(guard, f"192.0.2.{n}/user-{n}") for n in range(5)] == [GRANTED] * 2 + [DENIED] * 3
    assert wrong(guard, "192.0.2.9/other", target="another") is GRANTED
    assert right(guard, "192.0.2.9/other", 5.9) is DENIED
    assert [wrong(guard, f"192.0.2.{n}/user-{n}", 6.0) for n in (10, 11)] == [GRANTED, DENIED]
    assert [wrong(guard, f"192.0.2.{n}/user-{n}", 100.0) for n in (20, 21, 22)] == [GRANTED, GRANTED, DENIED]


@pytest.mark.parametrize("again", ["here/other", "there/alice"])
def test_a_source_and_a_username_use_up_their_own(again: str) -> None:
    guard = made(target_failures=3, target_forgive=0.1, forgive=60)
    assert [wrong(guard, "here/alice", float(at)) for at in range(4)] == [GRANTED] * 3 + [DENIED]
    assert wrong(guard, again, 4.0) is DENIED
    assert wrong(guard, "there/other", 4.0) is GRANTED
    assert wrong(guard, again, 64.0) is GRANTED


def test_what_succeeds_or_was_not_shown_costs_nothing() -> None:
    guard = made()
    for result in (Result.ACCEPTED, Result.UNTRIED):
        assert [attempt(guard, f"h{n}/u{n}", result) for n in range(9)] == [GRANTED] * 9
    assert not list(guard.used_up(0.0))


def test_who_finds_no_place_waits_for_those_under_way() -> None:
    guard = made()
    answers = [guard.ask((name, 1), "t", name, name, 0.0) for name in "abcd"]
    assert answers == [GRANTED, GRANTED, WAIT, WAIT]
    assert not list(guard.decided(0.0))
    guard.tried(("a", 1), Result.ACCEPTED, 1.0)
    assert list(guard.decided(1.0)) == [(("c", 1), "t", GRANTED)]
    guard.tried(("b", 1), Result.DENIED, 1.0)
    assert not list(guard.decided(1.0)), "one failed, one is under way"
    guard.tried(("c", 1), Result.DENIED, 1.0)
    assert list(guard.decided(1.0)) == [(("d", 1), "t", DENIED)]


def test_who_waits_may_go_away() -> None:
    guard = made(target_failures=1)
    for name in "abc":
        guard.ask((name, 1), "t", name, name, 0.0)
    guard.tried(("b", 1), Result.UNTRIED, 0.0)
    assert guard.ended("c", 0.0) is None
    guard.tried(("a", 1), Result.ACCEPTED, 0.0)
    assert not list(guard.decided(0.0))


def test_a_session_that_ends_meanwhile_counts_as_denied() -> None:
    guard = made(target_failures=1)
    guard.ask(("a", 1), "t", "here", "alice", 0.0)
    assert guard.ended("b", 0.0) is None
    entry = guard.ended("a", 7.0)
    assert entry is not None
    assert (entry.name, entry.key, entry.until) == ("t", "target:t", 13.0)
    assert guard.delay("t") == guards.LONGEST


def test_who_is_known_there_is_not_held_up_by_others() -> None:
    guard = made()
    assert right(guard, "here/alice") is GRANTED
    for number in range(9):
        wrong(guard, f"192.0.2.{number}/alice")
        wrong(guard, "here/mallory")
    assert right(guard, "here/alice") is GRANTED
    assert right(guard, "there/alice") is DENIED, "only from where it is known"
    assert right(guard, "here/bob") is DENIED, "only under that user name"
    assert wrong(guard, "here/alice", target="another") is GRANTED
    assert wrong(guard, "here/bob", target="another") is GRANTED
    assert right(guard, "here/alice", target="another") is DENIED, "only at that target"


def test_who_is_known_may_mistype() -> None:
    guard = made()
    right(guard, "here/alice")
    assert [wrong(guard, "here/alice"), right(guard, "here/alice")] == [GRANTED, GRANTED]
    assert [wrong(guard, "here/alice"), right(guard, "here/alice")] == [GRANTED, DENIED]
    assert wrong(guard, "there/bob") is DENIED, "those failures count for the target, too"
    assert right(guard, "here/alice", 6.0) is GRANTED


def test_who_is_known_logs_in_in_parallel_within_the_budget() -> None:
    guard = made()
    right(guard, "here/alice")
    assert [guard.ask((name, 1), "t", "here", "alice", 0.0) for name in "abc"] == [GRANTED, GRANTED, WAIT]
    guard.tried(("a", 1), Result.ACCEPTED, 0.0)
    assert [(id, answer) for id, _, answer in guard.decided(0.0)] == [(("c", 1), GRANTED)]


def test_a_target_whose_budget_is_used_up_is_told_once_in_a_while_and_shown() -> None:
    guard = made()
    told = []
    for now in range(0, 130, 2):
        id = ("s", now)
        if guard.ask(id, "t", f"h{now}", f"u{now}", float(now)) is GRANTED:
            told.append(guard.tried(id, Result.DENIED, float(now)))
    entries = [entry for entry in told if entry is not None]
    assert len(entries) == 3
    assert {(entry.kind, entry.name) for entry in entries} == {("target", "t")}
    (shown,) = guard.used_up(129.0)
    assert shown.until > 129.0
    assert not list(guard.used_up(shown.until))


def test_release() -> None:
    guard = made(target_forgive=3600)
    right(guard, "here/alice")
    wrong(guard, "here/alice")
    wrong(guard, "here/bob")
    assert wrong(guard, "there/carol") is DENIED
    assert guard.release("target:another", 0.0) is None
    released = guard.release("target:t", 0.0)
    assert released is not None
    assert released.count == 2
    assert guard.release("target:t", 0.0) is None
    wrong(guard, "here/bob")
    assert [right(guard, "here/bob"), right(guard, "there/bob")] == [DENIED, DENIED]
    assert guard.release("username:bob", 0.0) is None
    assert [right(guard, "here/bob"), right(guard, "there/bob")] == [DENIED, GRANTED], "its source is not released"
    guard.release("source:here", 0.0)
    assert right(guard, "here/bob") is GRANTED


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MAX_ENTRIES", 3)
    guard = made()
    for number in range(9):
        right(guard, f"here/user-{number}")
        right(guard, f"192.0.2.{number}/alice", target=f"t{number}")
    assert [len(each) for each in (guard._targets, guard._strangers, guard._known)] == [3, 3, 3]
    assert not guard._under_way
    assert not guard._waiting


class OpenSsh:
    """PerSourcePenalties as sshd keeps them for the gateway's address: whole seconds (srclimit.c, its defaults)."""

    def __init__(self) -> None:
        self.until = 0
        self.highest = 0

    def failed(self, now: float) -> None:
        second = math.floor(now)
        self.until = max(self.until, second) + 5
        self.highest = max(self.highest, self.until - second)


STEPS = st.lists(st.tuples(st.floats(0.0, 8.0), st.booleans(), st.booleans(), st.booleans()), max_size=60)
"""Time that passes, whether the known partner comes (else a stranger), whether the password is right, whether those
under way end now."""
Steps = list[tuple[float, bool, bool, bool]]


@given(STEPS)
def test_by_default_openssh_never_penalises_us(steps: Steps) -> None:
    """Strangers that fail or succeed, at any pace, several at a time: 10 of OpenSSH's 15 seconds at most."""
    assert _highest([(passes, False, fits, ends) for passes, _, fits, ends in steps]) <= 10


@given(STEPS)
def test_nor_if_one_who_is_known_fails_as_well(steps: Steps) -> None:
    assert _highest(steps) <= 15


def _highest(steps: Steps) -> int:
    guard, sshd, now = made(), OpenSsh(), 1000.5
    right(guard, "here/alice", now)
    under_way: dict[guards.Id, bool] = {}
    rights: dict[guards.Id, bool] = {}
    for number, (passes, known, fits, ends) in enumerate(steps):
        now += passes
        id = ("alice" if known else f"s{number}", number)
        who = ("here", "alice") if known else (f"h{number % 7}", f"u{number}")
        one_at_a_time = known and any(session == "alice" for session, _ in rights)
        if not one_at_a_time:
            rights[id] = fits
            answer = guard.ask(id, "t", *who, now)
            if answer is GRANTED:
                under_way[id] = fits
            elif answer is DENIED:
                del rights[id]
        if ends:
            for each, is_right in under_way.items():
                if not is_right:
                    sshd.failed(now)
                guard.tried(each, Result.ACCEPTED if is_right else Result.DENIED, now)
                del rights[each]
            under_way = {}
            for each, _, answer in guard.decided(now):
                if answer is GRANTED:
                    under_way[each] = rights[each]
                else:
                    del rights[each]
    return sshd.highest
