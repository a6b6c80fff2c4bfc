"""A load balancer's configuration, from what is deployed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from usp.manager import balance
from usp.manager.api.auth import Asking, TheApp
from usp.model import BindAddress

router = APIRouter(tags=["servers"])

EXAMPLE = "frontend partners\n    bind 0.0.0.0:2222\n    default_backend partners\n"
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "A haproxy.cfg", "content": {"text/plain": {"example": EXAMPLE}}}
}

Bind = Annotated[BindAddress, Query(description="The load balancer's address, that partners connect to")]
AgentPort = Annotated[
    int,
    Query(ge=0, le=65535, description="`agent.port` of the servers: they are asked for their load and health; 0: not"),
]


@router.get("/haproxy.cfg", operation_id="haproxy_configuration", response_class=PlainTextResponse, responses=CONTENT)
async def haproxy_configuration(
    app: TheApp, actor: Asking, bind: Bind = balance.ANYWHERE, agent_port: AgentPort = 0
) -> PlainTextResponse:
    """HAProxy's configuration: one frontend and backend per Listener, over the Proxy Servers that it is deployed on."""
    return PlainTextResponse(balance.configuration(await app.catalog(), bind=bind, agent_port=agent_port))
