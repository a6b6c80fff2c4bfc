"""Draining Proxy Servers: no new sessions, while those that are there may end."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from usp.manager.api.auth import Admin, TheApp
from usp.manager.api.versions import Wait
from usp.manager.store import rows
from usp.manager.store.rows import RunState
from usp.model import Model, ProxyServer
from usp.status import Intake

router = APIRouter(prefix="/servers", tags=["servers"])


class Drain(Model):
    """What is wanted of a Proxy Server, and how far it is."""

    server: str
    drain: bool = Field(description="Whether it is to be drained", examples=[True])
    intake: Intake = Field(description="Whether it takes new sessions; closing: soon not any more", examples=["closed"])
    sessions: int = Field(description="How many are left", examples=[0])

    @classmethod
    def of(cls, server: rows.Server, *, drain: bool) -> Drain:
        report = server.report
        intake, sessions = (report.intake, report.sessions) if report else (Intake.OPEN, 0)
        return cls(server=server.name, drain=drain, intake=intake, sessions=sessions)


@router.post(
    "/{name}/drain",
    operation_id="drain_server",
    status_code=202,
    responses={200: {"model": Drain, "description": "It takes no new session and has none left"}},
)
async def drain_server(app: TheApp, actor: Admin, response: Response, name: str, wait: Wait = 0) -> Drain:
    """Let no new sessions in, and keep it so, over restarts of the server and the managers. Sessions that are there go
    on. With `wait`: 200 once none is left; else 202, with what is left."""
    await app.set_run_state(actor, ProxyServer.kind, name, RunState.DRAINED)
    server = await app.emptied(name, wait)
    if server.is_empty:
        response.status_code = 200
    return Drain.of(server, drain=True)


@router.post("/{name}/undrain", operation_id="undrain_server", status_code=202)
async def undrain_server(app: TheApp, actor: Admin, name: str) -> Drain:
    """Let new sessions in again. It is done when the server reports it."""
    await app.set_run_state(actor, ProxyServer.kind, name, RunState.STARTED)
    return Drain.of(await app.server(name), drain=False)
