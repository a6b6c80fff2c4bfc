"""The nine Rules, each played from its first offer to its end."""

from __future__ import annotations

import pytest

from usp.model import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.server.auth import MAX_FAILURES, Judge, Login, Method
from usp.snapshot import RuleSpec

PW, KEY = Method.PASSWORD, Method.PUBLIC_KEY
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
            [(PW, (Judge.ACCOUNTS, Judge.TARGET)), (KEY, (Judge.ACCOUNTS,))],
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
            state = state.after(method, True)
        assert state.complete
        assert state.offered == frozenset()


@pytest.mark.parametrize("number", RULES)
def test_a_failure_changes_nothing_but_the_count(number: int) -> None:
    first = login(number)
    method = min(first.offered)
    state = first.after(method, False)
    assert (state.offered, state.complete, state.failures) == (first.offered, False, 1)


def test_too_many_failures_end_it() -> None:
    state = login(1)
    for _ in range(MAX_FAILURES):
        assert not state.exhausted
        state = state.after(PW, False)
    assert state.exhausted
    assert state.offered == frozenset()


def test_a_method_that_is_not_offered_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        login(1).judges(KEY)
    with pytest.raises(AssertionError):
        login(9).after(PW, True)
