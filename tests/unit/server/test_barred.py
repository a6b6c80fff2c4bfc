from __future__ import annotations

import pytest

from usp.server import barred
from usp.server.barred import Barred


def test_until_then() -> None:
    names = Barred()
    assert not names.holds("alice", 0.0)
    names.set("alice", 10.0)
    assert names.holds("alice", 9.9)
    assert not names.holds("alice", 10.0)
    assert not names.holds("bob", 0.0)
    names.set("alice", 0.0)
    assert not names.holds("alice", 0.0)


def test_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barred, "MAX_BARRED", 2)
    names = Barred()
    for name in ("a", "b", "a", "c"):
        names.set(name, 10.0)
    assert [name for name in "abc" if names.holds(name, 0.0)] == ["a", "c"]
