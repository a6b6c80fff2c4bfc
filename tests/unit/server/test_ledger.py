"""The ledger's rules, one by one; times are made up."""

from __future__ import annotations

from typing import Any

import pytest

from usp.limits import Limits
from usp.server import ledger as ledgers
from usp.server.dispatch import Refusal
from usp.server.ledger import Kind, Ledger, source_of
from usp.status import Outcome

HERE, THERE = "192.0.2.1", "192.0.2.2"


def made(**limits: Any) -> Ledger:
    return Ledger(Limits(**limits))


def fail(ledger: Ledger, host: str, times: int, *, username: str = "alice", now: float = 0.0) -> list[float]:
    """A session each; for how long the source is penalised after each."""
    seconds = []
    for at in range(times):
        session = f"{host}-{username}-{now}-{at}"
        ledger.opened(session, host, "l")
        entries = [entry for entry in ledger.failed(session, username, now) if entry.kind is Kind.SOURCE]
        seconds.append(entries[0].until - now if entries else 0.0)
        assert not ledger.ended(session, Outcome.AUTH_DENIED, now)
    return seconds


@pytest.mark.parametrize(
    ("host", "source"),
    [
        (HERE, HERE),
        ("::ffff:192.0.2.1", HERE),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_a_source(host: str, source: str) -> None:
    assert source_of(host) == source


def test_failures_cost_more_and_more() -> None:
    ledger = made(failures=3, first_penalty=10, longest_penalty=60)
    assert fail(ledger, HERE, 6) == [0, 0, 10, 20, 40, 60]
    assert ledger.refusal(HERE, "l", 59.9) is Refusal.PENALTY
    assert ledger.refusal(HERE, "l", 60.0) is None
    assert ledger.refusal(THERE, "l", 0.0) is None
    assert {entry.key for entry in ledger.penalties(0.0)} == {f"source:{HERE}", "username:alice"}


def test_failures_are_forgotten() -> None:
    ledger = made(failures=3, first_penalty=10, forgive=60)
    fail(ledger, HERE, 2)
    assert fail(ledger, HERE, 2, now=60.0) == [0, 10]
    assert fail(ledger, HERE, 2, now=1000.0) == [0, 0]


def test_an_ipv6_neighbour_is_the_same_source() -> None:
    ledger = made(failures=1)
    fail(ledger, "2001:db8::1", 1)
    assert ledger.refusal("2001:db8::2", "l", 0.0) is Refusal.PENALTY
    assert ledger.refusal("2001:db8:0:1::1", "l", 0.0) is None
    assert ledger.release("source:2001:db8::")
    assert ledger.refusal("2001:db8::1", "l", 0.0) is None


def test_a_username_is_penalised_wherever_the_failures_come_from() -> None:
    ledger = made(failures=3, first_penalty=10)
    for number in range(3):
        fail(ledger, f"192.0.2.{number}", 1)
    (entry,) = ledger.penalties(0.0)
    assert (entry.kind, entry.name, entry.until, entry.reason) == (Kind.USERNAME, "alice", 10.0, "failed logins")
    fail(ledger, "192.0.2.9", 1)
    assert [each.until for each in ledger.penalties(0.0)] == [10.0], "who is barred is not barred for longer"
    ledger.opened("s", HERE, "l")
    assert not ledger.failed("s", "", 0.0)


def test_release() -> None:
    ledger = made(failures=1)
    fail(ledger, HERE, 1)
    assert ledger.release("username:alice")
    released = ledger.release(f"source:{HERE}")
    assert released is not None
    assert released.name == HERE
    assert ledger.release(f"source:{HERE}") is None
    assert ledger.refusal(HERE, "l", 0.0) is None


def test_no_penalties() -> None:
    ledger = made(failures=0)
    assert fail(ledger, HERE, 30) == [0] * 30


def test_exempt_sources() -> None:
    ledger = made(failures=1, unauthenticated=1, connections_per_source=1, exempt=("192.0.2.0/24",))
    assert ledger.is_exempt(HERE)
    for number in range(5):
        ledger.opened(str(number), HERE, "l")
        assert not ledger.failed(str(number), "alice", 0.0)
        assert ledger.refusal(HERE, "l", 0.0) is None
    assert ledger.refusal("198.51.100.1", "l", 0.0) is None
    ledger.opened("check", "198.51.100.1", "l", exempt=True)
    assert ledger.refusal("198.51.100.1", "l", 0.0) is None
    assert ledger.authenticated("0", "alice", 0.0)
    assert not ledger.knows(HERE)
    assert not ledger.ended("1", Outcome.LIMIT, 0.0)


def test_connections_per_source_and_listener() -> None:
    ledger = made(connections_per_source=2, connections_per_listener=3)
    ledger.opened("1", HERE, "l")
    ledger.opened("2", HERE, "l")
    assert ledger.refusal(HERE, "l", 0.0) is Refusal.PER_SOURCE
    assert ledger.refusal(THERE, "l", 0.0) is None
    ledger.opened("3", THERE, "l")
    assert ledger.refusal(THERE, "l", 0.0) is Refusal.LISTENER_FULL
    assert ledger.refusal(THERE, "other", 0.0) is None
    ledger.ended("1", Outcome.COMPLETED, 0.0)
    assert ledger.refusal(HERE, "l", 0.0) is None


def test_unauthenticated_at_once() -> None:
    ledger = made(unauthenticated=3, unauthenticated_per_source=2)
    ledger.opened("direct", HERE, "l", logs_in=False)
    ledger.opened("1", HERE, "l")
    ledger.opened("2", HERE, "l")
    assert ledger.refusal(HERE, "l", 0.0) is Refusal.UNAUTHENTICATED_PER_SOURCE
    ledger.opened("3", THERE, "l")
    assert ledger.refusal(THERE, "l", 0.0) is Refusal.UNAUTHENTICATED
    assert ledger.authenticated("1", "alice", 0.0)
    ledger.opened("4", THERE, "l")
    assert ledger.refusal("192.0.2.3", "l", 0.0) is Refusal.UNAUTHENTICATED
    assert ledger.refusal(HERE, "l", 0.0) is None, "somebody has logged in from there before"
    ledger.ended("2", Outcome.PARTNER_CLOSED, 0.0)
    ledger.ended("1", Outcome.COMPLETED, 0.0)
    assert ledger.refusal(HERE, "l", 0.0) is None


def test_sessions_per_account() -> None:
    ledger = made(sessions_per_account=1)
    for session in "123":
        ledger.opened(session, HERE, "l")
    assert ledger.authenticated("1", "alice", 0.0)
    assert ledger.authenticated("1", "alice", 0.0), "told twice"
    assert not ledger.authenticated("2", "alice", 0.0)
    assert ledger.authenticated("3", "bob", 0.0)
    ledger.ended("1", Outcome.COMPLETED, 0.0)
    ledger.ended("2", Outcome.LIMIT, 0.0)
    ledger.opened("4", HERE, "l")
    assert ledger.authenticated("4", "alice", 0.0)


def test_who_logs_in_after_all_is_forgiven_that_session() -> None:
    ledger = made(failures=5, forgive=3600)
    fail(ledger, HERE, 2, username="bob")
    ledger.opened("s", HERE, "l")
    for _ in range(4):
        ledger.failed("s", "alice", 0.0)
    assert ledger.refusal(HERE, "l", 0.0) is Refusal.PENALTY
    assert ledger.authenticated("s", "alice", 0.0)
    assert ledger.refusal(HERE, "l", 0.0) is None
    assert fail(ledger, HERE, 3, username="bob") == [0, 0, 10], "what others did there still counts"


def test_a_penalty_that_others_earned_stays() -> None:
    ledger = made(failures=2, forgive=3600)
    ledger.opened("s", HERE, "l")
    ledger.failed("s", "alice", 0.0)
    fail(ledger, HERE, 3, username="bob")
    ledger.authenticated("s", "alice", 0.0)
    assert ledger.refusal(HERE, "l", 0.0) is Refusal.PENALTY
    ledger.opened("t", THERE, "l")
    ledger.failed("t", "carol", 0.0)
    ledger.release("username:carol")
    ledger.authenticated("t", "carol", 0.0)


def test_a_source_is_known_for_who_logged_in_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_KNOWN", 2)
    ledger = made()
    assert ledger.knows(HERE) == ()
    for name in ("alice", "bob", "alice", "carol"):
        ledger.opened(name, HERE, "l")
        ledger.authenticated(name, name, 0.0)
        ledger.ended(name, Outcome.COMPLETED, 0.0)
    assert ledger.knows(HERE) == ("alice", "carol")
    assert ledger.knows(THERE) == ()


def test_probes_cost_nothing_but_who_keeps_us_busy_pays() -> None:
    ledger = made(failures=2)
    for outcome in (Outcome.PROBE, Outcome.PARTNER_CLOSED, Outcome.DRAINED) * 3:
        ledger.opened("s", HERE, "l")
        assert not ledger.ended("s", outcome, 0.0)
    for outcome in (Outcome.LIMIT, Outcome.PROTOCOL_ERROR):
        ledger.opened("s", HERE, "l")
        entries = ledger.ended("s", outcome, 0.0)
    assert [entry.reason for entry in entries] == ["connections without a login"]
    assert ledger.refusal(HERE, "l", 0.0) is Refusal.PENALTY


def test_a_session_that_nobody_knows() -> None:
    ledger = made()
    assert not ledger.failed("s", "alice", 0.0)
    assert ledger.authenticated("s", "alice", 0.0)
    assert not ledger.ended("s", Outcome.LIMIT, 0.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_ENTRIES", 3)
    ledger = made(failures=1)
    for number in range(6):
        fail(ledger, f"192.0.2.{number}", 1, username=f"user-{number}")
        ledger.opened("s", f"192.0.2.{number}", "l")
        ledger.authenticated("s", "somebody", 0.0)
        ledger.ended("s", Outcome.COMPLETED, 0.0)
    kept = {entry.name for entry in ledger.penalties(0.0)}
    assert kept == {"192.0.2.3", "192.0.2.4", "192.0.2.5", "user-3", "user-4", "user-5"}
    assert [bool(ledger.knows(f"192.0.2.{number}")) for number in range(6)] == [False] * 3 + [True] * 3
    assert not ledger._held
    assert not any((ledger._sources, ledger._waiting, ledger._listeners, ledger._accounts))


def test_a_failure_counts_until_it_is_forgotten_whole() -> None:
    ledger = made(failures=2, first_penalty=10, forgive=60)
    assert fail(ledger, HERE, 1) == [0]
    assert fail(ledger, HERE, 1, now=0.1) == [10]
    assert {entry.count for entry in ledger.penalties(0.1)} == {2}
