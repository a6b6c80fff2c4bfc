"""The nine Rules, each played from its first offer to its end."""

from __future__ import annotations

import pytest

from usp.combinations import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.server.auth import MAX_FAILURES, Judge, Login, Method
from usp.snapshot import RuleSpec

PW, KEY, KBD = Method.PASSWORD, Method.PUBLIC_KEY, Method.KEYBOARD_INTERACTIVE
P, K, P_OR_K, P_AND_K = (
    InboundMethod.PASSWORD,
    InboundMethod.PUBLIC_KEY,
    InboundMethod.PASSWORD_OR_PUBLIC_KEY,
    InboundMethod.PASSWORD_AND_PUBLIC_KEY,
)
NONE, REPO, LDAP = InboundSource.NONE, InboundSource.ACCOUNT_REPOSITORY, InboundSource.LDAP
PASS, DEDICATED = OutboundCredentials.PASSTHROUGH, OutboundCredentials.DEDICATED

Steps = list[tuple[Method, tuple[Judge, ...]]]

RULES: dict[int, tuple[InboundMethod, InboundSource, OutboundCredentials, list[Steps]]] = {
    1: (P, NONE, PASS, [[(PW, (Judge.TARGET,))]]),
    2: (P, REPO, PASS, [[(PW, (Judge.ACCOUNTS, Judge.TARGET))]]),
    3: (P, REPO, DEDICATED, [[(PW, (Judge.ACCOUNTS,))]]),
    4: (P, LDAP, PASS, [[(PW, (Judge.LDAP, Judge.TARGET))]]),
    5: (P, LDAP, DEDICATED, [[(PW, (Judge.LDAP,))]]),
    6: (
        P_AND_K,
        REPO,
        DEDICATED,
        [
            [(PW, (Judge.ACCOUNTS,)), (KEY, (Judge.ACCOUNTS,))],
            [(KEY, (Judge.ACCOUNTS,)), (PW, (Judge.ACCOUNTS,))],
        ],
    ),
    7: (
        P_AND_K,
        REPO,
        PASS,
        [
            [(PW, (Judge.ACCOUNTS,)), (KEY, (Judge.ACCOUNTS, Judge.TARGET))],
            [(KEY, (Judge.ACCOUNTS,)), (PW, (Judge.ACCOUNTS, Judge.TARGET))],
        ],
    ),
    8: (P_OR_K, REPO, DEDICATED, [[(PW, (Judge.ACCOUNTS,))], [(KEY, (Judge.ACCOUNTS,))]]),
    9: (K, REPO, DEDICATED, [[(KEY, (Judge.ACCOUNTS,))]]),
}


def login(number: int) -> Login:
    method, source, outbound, _ = RULES[number]
    return Login(RuleSpec(id="r", name="r", method=method, source=source, outbound=outbound))


def test_the_table_has_all_nine() -> None:
    assert {rule[:3] for rule in RULES.values()} == RULE_COMBINATIONS


@pytest.mark.parametrize("number", RULES)
def test_each_way_in(number: int) -> None:
    for steps in RULES[number][3]:
        state = login(number)
        for method, judges in steps:
            assert not state.complete
            assert method in state.offered
            assert state.judges(method) == judges
            state = state.after(method)
        assert state.complete
        assert state.offered == frozenset()


@pytest.mark.parametrize("number", RULES)
def test_a_failure_takes_nothing_back(number: int) -> None:
    first = login(number)
    for method in sorted(first.offered):
        state = first.after(method, Judge.ACCOUNTS)
        assert (state.passed, state.complete, state.failures) == (frozenset(), False, 1)
        assert state.denied_by is Judge.ACCOUNTS
        assert method in state.offered


def test_whichever_carried_a_password_first_is_the_only_one() -> None:
    first = login(8)
    assert first.offered == {PW, KBD, KEY}
    assert first.after(PW, Judge.ACCOUNTS).offered == {PW, KEY}
    assert first.after(KBD, Judge.ACCOUNTS).offered == {KBD, KEY}
    assert first.after(KEY, Judge.ACCOUNTS).offered == {PW, KBD, KEY}
    assert first.judges(KBD) == first.judges(PW)
    both = login(6).after(KBD)
    assert both.passed == {PW}
    assert both.offered == {KEY}


def test_what_the_target_refuses_is_the_password() -> None:
    state = login(7).after(PW)
    assert state.offered == {KEY}
    assert state.judges(KEY) == (Judge.ACCOUNTS, Judge.TARGET)
    state = state.after(KEY, Judge.TARGET)
    assert state.passed == {KEY}
    assert state.offered == {PW}
    assert (state.failures, state.denied_by) == (1, Judge.TARGET)
    assert login(7).after(KEY).after(PW, Judge.TARGET).passed == {KEY}


def test_too_many_failures_end_it() -> None:
    state = login(1)
    for number in range(MAX_FAILURES):
        assert not state.exhausted
        state = state.after(PW, Judge.TARGET) if number % 2 else state.abandoned()
    assert state.exhausted
    assert state.offered == frozenset()


def test_another_user_name_begins_anew_but_keeps_the_count() -> None:
    state = login(6).after(PW, Judge.ACCOUNTS).after(PW).restarted()
    assert (state.passed, state.failures) == (frozenset(), 1)
    assert state.offered == {PW, KEY}


def test_a_method_that_is_not_offered_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        login(1).judges(KEY)
    with pytest.raises(AssertionError):
        login(9).after(PW)
