"""Who looks at a page, and whether a request is what it seems.

The cookie holds the bearer token of a login (usp.manager.logins), so its ends and time-outs are those of the API. It is
`__Host-`, so no other host can set it; `HttpOnly`, so no script can read it; `SameSite=Strict`, so no other site can
use it. A write must also come from one of our own pages: by its `Origin`, and by a token in it that only they know.

While the database is away nobody can be asked who a visitor is. Whoever was here of late may then go on reading what
this manager last saw, and change nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request

from usp.errors import Kind, UspError
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.users import Actor

COOKIE: Final = "__Host-usp"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
POLL_HEADER: Final = "USP-Poll"
"""Of what a page asks by itself, with nobody's hand: it keeps no login from becoming idle."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REMEMBERED: Final = 1000
AWAY_SECONDS: Final = 900.0
"""For so long at the most a visitor is believed while nobody can be asked."""


class LoginNeeded(Exception):  # noqa: N818  (not a failure: the way to the login page)
    """Nobody is logged in, or no longer."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of an administrator. `away`: why the database cannot be asked, if so."""

    app: App
    request: Request
    actor: Actor
    token: str
    away: str = ""

    @property
    def may_change(self) -> bool:
        return self.actor.role is Role.ADMIN and not self.away

    @property
    def csrf(self) -> str:
        return csrf_token(self.token)

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return self.request.headers.get("hx-request") == "true"


class Visitors:
    """Who was here of late, by the digests of their tokens."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: OrderedDict[str, tuple[Actor, float]] = OrderedDict()

    async def who(self, app: App, token: str, peer: str, *, quietly: bool = False) -> tuple[Actor, str]:
        """Whose token that is, and why the database is away, if so. LoginNeeded."""
        key = hashlib.sha256(token.encode()).hexdigest()
        try:
            actor = await app.logins.authenticate(token, peer, quietly=quietly)
        except UspError as error:
            if error.kind is not Kind.UNAVAILABLE:
                self._seen.pop(key, None)
                raise LoginNeeded from None
            known = self._seen.get(key)
            if known is None or self._monotonic() >= known[1]:
                raise
            return replace(known[0], role=Role.READ_ONLY), error.message
        self._remember(key, actor, min(AWAY_SECONDS, app.settings.login.idle_timeout))
        return actor, ""

    def forget(self, token: str) -> None:
        self._seen.pop(hashlib.sha256(token.encode()).hexdigest(), None)

    def _remember(self, key: str, actor: Actor, seconds: float) -> None:
        self._seen[key] = (actor, self._monotonic() + seconds)
        self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def csrf_token(token: str) -> str:
    """Of a login: any manager can make it, and nobody who does not have the login's token."""
    return hmac.new(token.encode(), b"usp ui: csrf", hashlib.sha256).hexdigest()


async def refuse_forgery(request: Request) -> None:
    """UspError auth.forgery unless a write comes from a page of ours."""
    if request.method in SAFE:
        return
    if not _is_ours(request):
        raise UspError("auth.forgery", "it does not come from a page of this manager")
    token = request.cookies.get(COOKIE)
    if token is None:
        return  # who has no login can do nothing by it but log in
    given = request.headers.get(CSRF_HEADER) or (await request.form()).get(CSRF_FIELD)
    if not (isinstance(given, str) and hmac.compare_digest(given.encode(), csrf_token(token).encode())):
        raise UspError("auth.forgery", "the page is of an earlier login: load it again")


def _is_ours(request: Request) -> bool:
    """By `Origin`; a browser that keeps that to itself says where the request comes from by `Sec-Fetch-Site`."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    found = urlsplit(origin)
    return found.scheme == "https" and found.netloc.lower() == request.headers.get("host", "").lower()


def the_app(request: Request) -> App:
    app = request.app.state.app
    assert isinstance(app, App)
    return app


TheApp = Annotated[App, Depends(the_app)]


def peer(request: Request) -> str:
    """The address that asks, for events."""
    return request.client.host if request.client else ""


async def visit(request: Request, app: TheApp) -> Visit:
    token = request.cookies.get(COOKIE, "")
    visitors = request.app.state.visitors
    assert isinstance(visitors, Visitors)
    if not token:
        raise LoginNeeded
    quietly = request.headers.get(POLL_HEADER) is not None
    actor, away = await visitors.who(app, token, peer(request), quietly=quietly)
    return Visit(app, request, actor, token, away)


Visiting = Annotated[Visit, Depends(visit)]
"""Who looks at a page. Whether they may do what they ask for is checked by the use cases."""


def _changing(visit: Visiting) -> Visit:
    visit.actor.require(Role.ADMIN)
    return visit


Changing = Annotated[Visit, Depends(_changing)]
"""For pages that are of use to administrators alone."""
