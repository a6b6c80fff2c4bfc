"""Monitoring > Dashboard: how much goes on, who comes, what ends soon, and what needs a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from usp.manager.app import App, LiveSession
from usp.manager.ui import pages, sessions
from usp.manager.ui.board import Picture
from usp.manager.ui.concerns import Concern, Expiry, concerns
from usp.manager.ui.ledger import Ledger, Moved
from usp.manager.ui.overview import Totals
from usp.manager.ui.recent import Recent
from usp.manager.ui.series import Series
from usp.manager.ui.status import the_board
from usp.manager.ui.visits import Visiting

router = APIRouter(include_in_schema=False)

HOUR: Final = timedelta(hours=1)
SECONDS: Final = 5.0
PATIENCE: Final = 0.5
"""So long a page waits for servers to tell their sessions: one that does not answer takes longer."""
SHOWN: Final = 10
SOON_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page shows besides the charts. `partners`: name, logins, failed ones, of the last hour; `moved`: who
    moved most in it; `expiring`: certificates and API tokens."""

    totals: Totals
    concerns: list[Concern]
    partners: list[tuple[str, int, int]]
    moved: list[Moved]
    succeeded: int
    failed: int
    expiring: list[tuple[Expiry, datetime]]


def _series(request: Request) -> Series:
    found = request.app.state.series
    assert isinstance(found, Series)
    return found


def _figures(request: Request) -> Recent[Figures]:
    state = request.app.state
    if not hasattr(state, "figures"):
        board = the_board(request)

        asked = sessions.recent(request)

        async def ask() -> Figures:
            app: App = state.app
            live, _ = await asked.within(PATIENCE) or ([], {})
            return await figures(app, await board.look(), state.ledger, live)

        state.figures = Recent(ask, SECONDS)
    found: Recent[Figures] = state.figures
    return found


async def figures(app: App, picture: Picture, ledger: Ledger, live: list[LiveSession]) -> Figures:
    now = app.clock()
    certificates = [
        Expiry(known.where, known.certificate.name, known.certificate.until) for known in await app.expiring.all()
    ]
    tally = await app.store.events.tally("login", since=now - HOUR)
    partners: dict[str, list[int]] = {}
    for name, outcome, count in tally:
        good_bad = partners.setdefault(name, [0, 0])
        good_bad[0 if outcome == "ok" else 1] += count
    named = [(name, good, bad) for name, (good, bad) in partners.items() if name]
    ending = sorted([*certificates, *await _tokens(app)], key=lambda each: each.until)
    soon = [each for each in ending if each.until < now.timestamp() + SOON_DAYS * 86400]
    return Figures(
        totals=picture.totals,
        concerns=concerns(picture.rows, certificates, now.timestamp()),
        partners=sorted(named, key=lambda each: (-each[1], each[0]))[:SHOWN],
        moved=ledger.top(SHOWN, (one.session for one in live)),
        succeeded=sum(good for good, _ in partners.values()),
        failed=sum(bad for _, bad in partners.values()),
        expiring=[(each, datetime.fromtimestamp(each.until, UTC)) for each in soon[:SHOWN]],
    )


async def _tokens(app: App) -> list[Expiry]:
    """API tokens that end by themselves, and have not yet: automation stops when they do."""
    now = app.clock()
    names = {user.id: user.name for user in await app.store.users.all()}
    return [
        Expiry(f"API token of {names.get(token.user_id, '?')}", token.name, token.expires_at.timestamp())
        for token in await app.store.users.tokens()
        if token.expires_at is not None and token.expires_at > now
    ]


@router.get("/dashboard")
async def dashboard(visit: Visiting) -> Response:
    found = await _figures(visit.request).get()
    if visit.partial:
        return pages.part(visit, "dashboard_figures.html", found=found)
    series = _series(visit.request)
    since = datetime.fromtimestamp(series.points[0].at, UTC) if series.points else None
    names = sorted({name for point in series.points for name in point.counts})
    return pages.page(visit, "dashboard.html", "Dashboard", at="dashboard", found=found, since=since, names=names)


@router.get("/dashboard/series")
async def points(visit: Visiting, server: str = "") -> Response:
    return JSONResponse(_series(visit.request).of(server), headers=pages.HEADERS)
