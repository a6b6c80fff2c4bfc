"""How things are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from usp.manager.ui import words
from usp.manager.ui.words import Tone
from usp.status import TRANSITIONS, Outcome, ServerState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_every_state_has_a_tone_and_every_tone_an_icon() -> None:
    assert words.TONES.keys() == TRANSITIONS.keys()
    for states, tones in words.TONES.items():
        assert set(states) == set(tones)
    assert words.ICONS.keys() == set(Tone)


def test_a_chip() -> None:
    assert words.chip(ServerState.RUNNING) == words.Chip("running", Tone.OK, "check")
    assert words.of_tone(Tone.BAD, "gone") == words.Chip("gone", Tone.BAD, "cross")


def test_what_became_of_something() -> None:
    neither = {"partner_closed", "target_closed", "idle", "drained", "probe"}
    assert {word for word in Outcome if words.outcome(word).tone is Tone.OFF} == neither
    assert words.outcome("auth_denied") == words.Chip("auth_denied", Tone.WARN, "alert")
    assert words.outcome("ok").tone is Tone.OK


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_size(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (1.9, "1 s"), (59, "59 s"), (61, "1 min"), (7199, "119 min"), (7200, "2 h"), (2 * 86400, "2 d")],
)
def test_span(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_times() -> None:
    assert words.ago(NOW, NOW) == "now"
    assert words.ago(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert words.ago(NOW + timedelta(days=5), NOW) == "in 5 d"
    assert words.exact(NOW) == "2026-01-01 12:00:00 UTC"


def test_count() -> None:
    assert words.count(1, "session") == "1 session"
    assert words.count(2000, "session") == "2,000 sessions"
    assert words.count(0, "entry", "entries") == "0 entries"
