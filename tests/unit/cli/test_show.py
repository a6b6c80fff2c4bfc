"""What people see."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from usp.cli import show

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
COLUMNS: tuple[show.Column, ...] = (("name", lambda row: row["name"]), ("state", lambda row: row.get("state")))


def test_a_table_is_not_cut_when_it_is_piped(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    show.table(COLUMNS, [{"name": long, "state": "running"}, {"name": "[red]b[/red]"}], title="Things")
    title, heading, _, first, second = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert (title, heading.split()) == ("Things", ["name", "state"])
    assert first.split() == [long, "running"]
    assert second.split() == ["[red]b[/red]", "-"], "names are no markup"


@pytest.mark.parametrize(("title", "expected"), [("", "none yet"), ("Things", "Things: none yet")])
def test_an_empty_table(title: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    show.table(COLUMNS, [], title=title, empty="none yet")
    assert capsys.readouterr().out == f"{expected}\n"


def test_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    show.fields({"name": "a", "facts": {"bits": 256}, "keys": ["b", "c"], "password": None, "enabled": True})
    expected = ["name: a", "facts:", "  bits: 256", "keys: b, c", "password: -", "enabled: yes"]
    assert capsys.readouterr().out.splitlines() == expected
    assert show.text([{"a": 1, "b": False}]) == "a=1 b=no"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    show.as_json({"name": "ä"})
    assert json.loads(capsys.readouterr().out) == {"name": "ä"}


def test_what_would_steer_the_terminal_is_not_printed() -> None:
    assert show.text("a\x1b[31mb\n") == "a�[31mb�"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "never"), (0.2, "0 s"), (59.9, "59 s"), (60, "1 min"), (7_300, "2 h"), (200_000, "2 d")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert show.duration(seconds) == expected


def test_how_long_ago() -> None:
    assert show.since(None) == "never"
    assert show.since(NOW.timestamp() - 5, NOW) == "5 s"
    assert show.since("2026-11-23T11:58:00Z", NOW) == "2 min"
    assert show.since(NOW.timestamp() + 5, NOW) == "0 s", "clocks differ"


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 42, "4.0 TiB")]
)
def test_sizes(count: int, expected: str) -> None:
    assert show.size(count) == expected
