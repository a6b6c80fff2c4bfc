"""Searching the audit trail, its export, and stories."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.store.rows import Event
from usp.manager.ui import events

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def event(number: int, action: str, path: str = "", **more: str) -> Event:
    detail = {"path": path, "bytes_written": number} if path else {}
    fields: dict[str, Any] = {"server": "s", "session": "abc", "outcome": "ok", "author": "partner", **more}
    return Event(at=AT + timedelta(minutes=number), action=action, target=path, detail=detail, **fields)


@pytest.fixture
async def stored(app: App) -> None:
    await app.store.events.add(
        event(1, "login"),
        event(2, "file.closed", "/in/a"),
        event(3, "file.closed", "/in/ab", outcome="failed", session="def"),
        event(4, "file.rename", "/in/a", session="def"),
        event(5, "file.closed", "=HYPERLINK(1)"),
        event(6, "item.update", server="", session="", author="<i>eve"),
    )


def rows(text: str) -> int:
    return text.count("<tr>") - 1


async def test_nothing_yet(reader: Browser) -> None:
    assert "Nothing matches" in text_of(await reader.get("/ui/events?account=nobody"))


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("account=partner", 5),
        ("path=/in/", 3),
        ("outcome=failed", 1),
        ("action=file.&session=def", 2),
        ("from=2026-01-01T12:03&to=2026-01-01T12:05", 2),
        ("source=manager&account=<i>eve", 1),
        ("account=partner&path=&outcome=&from=&to=&source=", 5),
    ],
)
async def test_searching(reader: Browser, query: str, count: int) -> None:
    page = await reader.get(f"/ui/events?{query}")
    assert (page.status_code, rows(page.text)) == (200, count)
    assert "<i>eve" not in page.text


@pytest.mark.usefixtures("stored")
async def test_what_is_wrong_in_a_search_is_told(reader: Browser) -> None:
    page = await reader.get("/ui/events?from=yesterday&source=x")
    assert page.status_code == 422
    assert "source" in text_of(page)
    assert 'value="yesterday"' in page.text, "it can be corrected"


@pytest.mark.usefixtures("stored")
async def test_pages(reader: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    seen, where = [], "/ui/events?account=partner"
    while where:
        page = await reader.get(where)
        seen.append(rows(page.text))
        found = re.search(r'href="(/ui/events[^"]*before=[^"]*)"', page.text)
        where = html.unescape(found[1]) if found else ""
    assert seen == [2, 2, 1]


@pytest.mark.usefixtures("stored")
async def test_exports(reader: Browser) -> None:
    answer = await reader.get("/ui/events.json?path=/in/")
    assert answer.headers["content-disposition"].endswith('.jsonl"')
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["target"] for line in lines] == ["/in/a", "/in/ab", "/in/a"]
    assert lines[0]["detail"] == {"path": "/in/a", "bytes_written": 4}
    answer = await reader.get("/ui/events.csv?account=partner")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["action"] for line in table] == ["file.closed", "file.rename", "file.closed", "file.closed", "login"]
    assert table[0]["target"] == "'=HYPERLINK(1)", "no formula for a spreadsheet"
    assert (await reader.get("/ui/events.csv?from=x")).status_code == 422


@pytest.mark.usefixtures("stored")
async def test_exports_go_on_in_batches(reader: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BATCH", 2)
    monkeypatch.setattr(events, "EXPORTED", 4)
    assert len((await reader.get("/ui/events.json")).text.splitlines()) == 4, "at the most"
    monkeypatch.setattr(events, "EXPORTED", 100)
    assert len((await reader.get("/ui/events.json?account=partner")).text.splitlines()) == 5


@pytest.mark.usefixtures("stored")
async def test_stories(reader: Browser) -> None:
    page = await reader.get("/ui/events/story?session=abc")
    assert rows(page.text) == 3
    text = text_of(page)
    assert text.index("login") < text.index("2026-01-01 12:02:00 UTC") < text.index("2026-01-01 12:05:00 UTC")
    page = await reader.get("/ui/events/story?path=/in/a")
    assert rows(page.text) == 2, "of this file, not of those whose name begins so"
    assert "Nothing is known of it" in text_of(await reader.get("/ui/events/story?path=/gone"))
    assert (await reader.get("/ui/events/story")).status_code == 422


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\t", "\r"])
def test_no_formulas(cell: str) -> None:
    assert events.harmless(cell) == f"'{cell}"
    assert events.harmless("a=1") == "a=1"
