"""Spans of what is told: by the SDK's own exporters, to memory and to a collector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import count

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.collector import Collector
from usp.server.audit import JsonValue
from usp.server.traces import SECOND, Facts, Traces, traced
from usp.settings import TracesSettings

WHO = {"session": "s1", "listener": "partners", "username": "acme"}
STORY: list[dict[str, JsonValue]] = [
    {**WHO, "event": "session.started"},
    {**WHO, "event": "login", "outcome": "auth_denied"},
    {**WHO, "event": "login", "outcome": "ok"},
    {**WHO, "event": "file.mkdir", "path": "/in", "outcome": "ok"},
    {**WHO, "event": "file.closed", "path": "/in/a", "seconds": 1.5, "bytes_written": 5, "outcome": "ok"},
    {**WHO, "event": "file.closed", "path": "/b", "seconds": 0.5, "outcome": "failed", "text": "No space left"},
    {**WHO, "event": "session.ended", "outcome": "completed", "bytes_in": 5},
]


def spans(story: list[dict[str, JsonValue]]) -> tuple[list[ReadableSpan], list[Facts]]:
    """One second passes between two facts."""
    memory, told = InMemorySpanExporter(), list[Facts]()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    seconds = count(100)
    traces = Traces(provider, told.append, lambda: next(seconds) * SECOND)
    for facts in story:
        traces.tell(facts)
    return list(memory.get_finished_spans()), told


def test_a_session_is_a_span_with_its_logins_and_files_below_it() -> None:
    made, told = spans(STORY)
    assert told == STORY, "the audit log is told as ever"
    assert [span.name for span in made] == ["login", "login", "file", "file", "session"]
    session = made[-1]
    assert session.context is not None
    assert [span.parent.span_id for span in made if span.parent] == [session.context.span_id] * 4
    assert session.parent is None
    times = [(int(span.start_time or 0) / SECOND, int(span.end_time or 0) / SECOND) for span in made]
    assert times == [(100, 101), (101, 102), (102.5, 104), (104.5, 105), (100, 106)]
    assert [event.name for event in session.events] == ["file.mkdir"]
    assert [span.status.is_ok for span in made] == [False, True, True, False, True]
    assert made[3].status.description == "No space left"
    assert made[2].attributes == {
        "usp.session": "s1",
        "usp.listener": "partners",
        "user.name": "acme",
        "file.path": "/in/a",
        "usp.seconds": 1.5,
        "usp.bytes_written": 5,
        "usp.outcome": "ok",
    }


def test_who_never_named_a_user_has_no_span_and_a_bad_end_is_an_error() -> None:
    assert spans([{**WHO, "event": "session.ended", "outcome": "auth_denied"}])[0] == []
    (span,) = spans([STORY[0], {**WHO, "event": "session.ended", "outcome": "tunnel_down"}])[0]
    assert (span.status.is_ok, span.status.description) == (False, "tunnel_down")


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_collector_gets_them(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    traces = traced(TracesSettings(endpoint=collector.endpoint), "dmz-1", 3, lambda facts: None)
    assert traces is not None
    for facts in STORY:
        traces.tell(facts)
    traces.close()
    (request,) = collector.requests
    (resource,) = request.resource_spans
    who = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert who.items() >= {"service.name": "usp-server", "service.instance.id": "dmz-1/3"}.items()
    assert len(resource.scope_spans[0].spans) == 5
    traces._provider.shutdown()


def test_off_it_costs_nothing() -> None:
    program = """
import sys
from usp.server import worker
from usp.server.traces import traced
from usp.settings import TracesSettings
assert traced(TracesSettings(), "s", 0, print) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
