"""Pushes to several servers, one after another."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StrictBool

from usp.manager import rollout
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Limit
from usp.manager.api.versions import Body, Comment, Wait
from usp.manager.rollout import RolloutState, StepState
from usp.model import Model

router = APIRouter(tags=["servers"])


class PushMany(Body):
    """Which servers, in which order, and how."""

    servers: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(
        min_length=1, max_length=1000, description="Proxy Servers, by id or name, in order", examples=[["usp-server-1"]]
    )
    canary: StrictBool = Field(
        default=False, description="The others only get it when the first one has applied it and is healthy"
    )
    wait: float = Field(
        default=60.0, ge=1, le=3600, allow_inf_nan=False, description="Seconds that each server gets", examples=[60]
    )
    comment: Comment = ""
    force: StrictBool = Field(
        default=False, description="Make versions even where the server has this configuration already"
    )


class ServerPush(Model):
    """What became of it on one server."""

    server: str = Field(description="The Proxy Server")
    state: StepState = Field(description="late: not applied (the first one: not healthy) in time; it stays wanted")
    version: int = Field(description="The version that was made; 0: none yet")
    unchanged: bool = Field(description="The server had it already, so that no new version was made")
    reason: str


class Rollout(Model):
    """A push to several servers, as far as it has come."""

    id: int = Field(description="Its number", examples=[1])
    state: RolloutState
    reason: str
    author: str
    at: datetime
    ended_at: datetime | None = Field(description="When it was done or stopped; null: it runs", examples=[None])
    comment: str
    canary: bool = Field(description="Whether the first server had to be healthy before the others")
    wait: float = Field(description="Seconds that each server gets", examples=[60])
    catalog_revision: int
    servers: list[ServerPush] = Field(description="What became of it on each server, in order")

    @classmethod
    def of(cls, found: rollout.Rollout) -> Rollout:
        return cls(
            id=found.id,
            state=found.state,
            reason=found.reason,
            author=found.author,
            at=found.at,
            ended_at=found.ended_at,
            comment=found.comment,
            canary=found.canary,
            wait=found.patience,
            catalog_revision=found.catalog_revision,
            servers=[
                ServerPush(
                    server=step.server,
                    state=step.state,
                    version=step.version,
                    unchanged=step.unchanged,
                    reason=step.reason,
                )
                for step in found.steps
            ],
        )


class Rollouts(Model):
    """Pushes to several servers, newest first."""

    items: list[Rollout]
    next: int | None


@router.post(
    "/push",
    operation_id="push_many",
    status_code=202,
    responses={200: {"model": Rollout, "description": "It has ended: done or stopped"}},
)
async def push_many(app: TheApp, actor: Admin, response: Response, body: PushMany, wait: Wait = 0) -> Rollout:
    """Push to several servers, one after another, and stop at the first that refuses. It goes on in the background:
    `GET /pushes/{id}` shows how far it is. With `wait` in the query the answer comes when it has ended, or then."""
    made = await app.rollouts.start(
        actor, body.servers, canary=body.canary, patience=body.wait, comment=body.comment, force=body.force
    )
    found = await app.rollouts.settled(made.id, wait)
    if found.state is not RolloutState.RUNNING:
        response.status_code = 200
    return Rollout.of(found)


@router.get("/pushes", operation_id="list_pushes")
async def list_pushes(
    app: TheApp,
    actor: Asking,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the page before")] = None,
) -> Rollouts:
    """Pushes to several servers, newest first."""
    page = await app.store.rollouts.page(before=after, limit=limit)
    following = page[-1].id if len(page) == limit else None
    return Rollouts(items=[Rollout.of(found) for found in page], next=following)


@router.get("/pushes/{id}", operation_id="get_push")
async def get_push(
    app: TheApp, actor: Asking, id: Annotated[int, Path(ge=0, le=2**53, description="Its number")]
) -> Rollout:
    """How far a push to several servers is, from any manager."""
    return Rollout.of(await app.store.rollouts.get(id))
