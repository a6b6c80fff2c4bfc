"""OpenTelemetry: each session is a span; its logins and files are spans below it, all else that is told its events.

It is made of what the audit log is told, and nothing else: where no collector is named (`traces.endpoint`), nothing of
this is imported, and no session pays for it. Spans are sent by a thread of the SDK, which drops what a collector does
not take. The SDK's own variables of the environment (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`) hold, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usp import __version__
from usp.server.audit import JsonValue
from usp.status import Outcome

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from usp.settings import TracesSettings

Facts = Mapping[str, JsonValue]
Tell = Callable[[Facts], None]

STARTED, ENDED, LOGIN, FILE = "session.started", "session.ended", "login", "file.closed"
GOODBYE: Final = 2.0
"""Seconds to send the last spans."""
ORDERLY: Final = frozenset({Outcome.COMPLETED, Outcome.PARTNER_CLOSED, Outcome.DRAINED})
SECOND: Final = 1_000_000_000

NAMES: Final[Mapping[str, str]] = {"username": "user.name", "peer": "client.address", "path": "file.path"}
"""Fields that have a name in OpenTelemetry's conventions; others are `usp.FIELD`."""


@dataclass(slots=True)
class _Session:
    span: Span
    since: int  # of the login that goes on


class Traces:
    """Takes what is told of sessions, hands it on to `tell`, and makes spans of it."""

    def __init__(self, provider: TracerProvider, tell: Tell, now: Callable[[], int] = time.time_ns) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("usp", __version__)
        self._tell = tell
        self._now = now
        self._sessions: dict[str, _Session] = {}

    def tell(self, facts: Facts) -> None:
        self._tell(facts)
        event, id, now = str(facts["event"]), str(facts.get("session", "")), self._now()
        if event == STARTED:
            server = self._trace.SpanKind.SERVER
            self._sessions[id] = _Session(self._tracer.start_span("session", kind=server, start_time=now), now)
        elif (session := self._sessions.get(id)) is None:
            return
        elif event == ENDED:
            session.span.set_attributes(_attributes(facts))
            self._judge(session.span, facts["outcome"] in ORDERLY, facts)
            session.span.end(now)
            del self._sessions[id]
        elif event == LOGIN:
            self._below(session, LOGIN, session.since, now, facts)
            session.since = now
        elif event == FILE:
            self._below(session, "file", now - int(float(facts["seconds"]) * SECOND), now, facts)
        else:
            session.span.add_event(event, _attributes(facts), now)

    def close(self) -> None:
        """Send what is there, for a moment at most: a collector that is away holds up nobody."""
        flushing = threading.Thread(target=self._provider.force_flush, args=(int(GOODBYE * 1000),), daemon=True)
        flushing.start()
        flushing.join(GOODBYE)

    def _below(self, session: _Session, name: str, since: int, now: int, facts: Facts) -> None:
        parent = self._trace.set_span_in_context(session.span)
        span = self._tracer.start_span(name, parent, start_time=since, attributes=_attributes(facts))
        self._judge(span, facts.get("outcome") in ("ok", "partial"), facts)
        span.end(now)

    def _judge(self, span: Span, well: bool, facts: Facts) -> None:
        if not well:
            span.set_status(self._trace.StatusCode.ERROR, str(facts.get("text") or facts.get("outcome", "")))


def _attributes(facts: Facts) -> dict[str, JsonValue]:
    return {NAMES.get(name, f"usp.{name}"): value for name, value in facts.items() if name != "event"}


def traced(settings: TracesSettings, server: str, slot: int, tell: Tell) -> Traces | None:
    """None where traces are off."""
    if not settings.endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    who = {"service.name": "usp-server", "service.instance.id": f"{server}/{slot}", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(who), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(settings.endpoint, certificate_file=settings.ca or None)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider, tell)
