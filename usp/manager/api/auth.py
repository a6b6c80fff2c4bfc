"""Who asks: a bearer token (RFC 6750) becomes an Actor. What the actor may do is checked by the use cases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from usp.errors import UspError
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.users import Actor

_bearer = HTTPBearer(auto_error=False, description="From POST /login, or an API token")


def _app(request: Request) -> App:
    app = request.app.state.app
    assert isinstance(app, App)
    return app


TheApp = Annotated[App, Depends(_app)]


def peer(request: Request) -> str:
    """The address that asks, for events."""
    return request.client.host if request.client else ""


async def _actor(
    request: Request, app: TheApp, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    if credentials is None:
        raise UspError("auth.invalid", "give a token: 'Authorization: Bearer ...'")
    return await app.logins.authenticate(credentials.credentials, peer(request))


Asking = Annotated[Actor, Depends(_actor)]


def _admin(actor: Asking) -> Actor:
    actor.require(Role.ADMIN)
    return actor


Admin = Annotated[Actor, Depends(_admin)]
"""Refuses others before their body is looked at."""
