"""Who moved how much within the last hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from usp.manager.store.rows import Event
from usp.manager.ui.ledger import Ledger
from usp.status import SessionStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ended(name: str, minutes: int, **detail: Any) -> Event:
    return Event(at=NOW - timedelta(minutes=minutes), author=name, action="session.ended", detail=detail)


def test_sums_of_an_hour() -> None:
    ledger = Ledger()
    assert ledger.top(3) == []
    ledger.add([ended("a", 1, bytes_in=5, bytes_out=1), ended("a", 50, bytes_in=5), ended("b", 2, bytes_out=100)], NOW)
    ledger.add([ended("c", 61, bytes_in=9), ended("", 1, bytes_in=9), ended("d", 1, bytes_in="9"), ended("e", 0)], NOW)
    top = ledger.top(9)
    assert [(each.name, each.sessions, each.bytes_in, each.bytes_out) for each in top] == [
        ("b", 1, 0, 100),
        ("a", 2, 10, 1),
        ("d", 1, 0, 0),
        ("e", 1, 0, 0),
    ]
    assert [each.name for each in ledger.top(2)] == ["b", "a"]
    ledger.add([], NOW + timedelta(minutes=20))
    assert [(each.name, each.bytes) for each in ledger.top(9)] == [("b", 100), ("a", 6), ("d", 0), ("e", 0)]
    ledger.add([], NOW + timedelta(minutes=90))
    assert ledger.top(9) == []


def test_live_sessions_count_up_to_now() -> None:
    def live(name: str, bytes_in: int) -> SessionStatus:
        return SessionStatus(
            id="i", listener="l", node="n", peer="p", username=name, slot=0, since=0.0, bytes_in=bytes_in, bytes_out=1
        )

    ledger = Ledger()
    ledger.add([ended("a", 1, bytes_in=5)], NOW)
    now = [live("a", 10), live("b", 99), live("", 1000)]
    for _ in range(2):  # nothing of them is kept
        top = ledger.top(9, now)
        assert [(each.name, each.sessions, each.bytes_in, each.bytes_out) for each in top] == [
            ("b", 1, 99, 1),
            ("a", 2, 15, 1),
        ]
