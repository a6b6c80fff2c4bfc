"""Templates become answers: every page has the same frame, headers, and words at hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import usp
from usp.manager.app import App
from usp.manager.ui import assets, fields, navigation, words
from usp.manager.ui.visits import CSRF_FIELD, CSRF_HEADER, Visit

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with less, browsers tell no Origin
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NOTE: Final = "__Host-usp-note"
"""A cookie with what the page after the next redirect shall say."""

_jinja: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_jinja.globals.update(
    static=assets.address,
    sections=navigation.SECTIONS,
    release=usp.__version__,
    CSRF_FIELD=CSRF_FIELD,
    CSRF_HEADER=CSRF_HEADER,
    chip=words.chip,
    outcome_chip=words.outcome,
    of_tone=words.of_tone,
    Tone=words.Tone,
)
_jinja.filters.update(word=fields.word_of, label=fields.label_of)
_jinja.filters.update(size=words.size, span=words.span, exact=words.exact, count=words.count)


def _ago(at: datetime | None) -> Markup:
    """A time that tells how long ago it was, and, pointed at, when exactly. A script keeps it true."""
    if at is None:
        return Markup("never")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    text = words.ago(at, datetime.now(UTC))
    return Markup('<time data-ago datetime="{}" title="{}">{}</time>').format(at.isoformat(), words.exact(at), text)


def _moment(seconds: float) -> datetime:
    """Of Unix time."""
    return datetime.fromtimestamp(seconds, UTC)


_jinja.filters.update(ago=_ago, moment=_moment)


def render(template: str, **context: Any) -> str:
    """A template without a frame of its own: a part of a page."""
    return _jinja.get_template(template).render(context)


def part(visit: Visit, template: str, *, status: int = 200, **context: Any) -> Response:
    """A part of a page, for htmx."""
    return HTMLResponse(render(template, visit=visit, **context), status, headers=HEADERS)


def page(visit: Visit, template: str, title: str, *, at: str = "", status: int = 200, **context: Any) -> Response:
    """A whole page. `at`: the menu's entry that it belongs to."""
    answer = framed(visit.app, visit.request, template, title, visit=visit, at=at, status=status, **context)
    if NOTE in visit.request.cookies:
        answer.delete_cookie(NOTE, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def framed(app: App, request: Request, template: str, title: str, *, status: int = 200, **context: Any) -> Response:
    """A page, also for who is not logged in."""
    lacking = assets.missing()
    if lacking:
        return HTMLResponse(render("missing.html", names=lacking), 503, headers=HEADERS)
    told = {"visit": None, "at": "", "note": _note(request), **context}
    text = render(template, title=title, settings=app.settings, **told)
    return HTMLResponse(text, status, headers=HEADERS)


def _note(request: Request) -> str:
    return unquote(request.cookies.get(NOTE, ""))[:500]


def onward(path: str, note: str = "") -> Response:
    """After a write: look at this page (of ours), which says `note` once."""
    answer = RedirectResponse(path, 303, headers=HEADERS)
    if note:
        answer.set_cookie(NOTE, quote(note[:500]), max_age=60, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def done(visit: Visit, path: str, note: str = "") -> Response:
    """After a write: htmx says so where it is, a form without scripts goes on to `path`."""
    if not visit.partial:
        return onward(path, note)
    trigger = json.dumps({"note": {"text": note}})
    return Response(status_code=204, headers={**HEADERS, "HX-Trigger": trigger} if note else HEADERS)
