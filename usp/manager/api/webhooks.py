"""Webhooks: who is told of events by a signed POST. The secret is shown once, by the answer that makes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StrictBool

from usp.manager.api.access import Body
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Paging, cut
from usp.manager.store import rows
from usp.model import Model, Name

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Text = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class WantedEvents(Body):
    """Which events; what is left out is any."""

    action: Text = Field(default="", description="It begins so, such as file. or login", examples=["file."])
    path: Text = Field(default="", description="It begins so", examples=["/in/"])
    account: Text = Field(default="", description="Of this user name", examples=["acme"])
    server: Text = Field(default="", description="Of this Proxy Server", examples=["usp-server"])
    listener: Text = Field(default="", description="Of this Listener", examples=["partners"])
    outcome: Text = Field(default="", description="With this outcome", examples=["denied"])


class NewWebhook(Body):
    """A webhook to be."""

    name: Name = Field(description="Unique among the webhooks", examples=["siem"])
    url: str = Field(max_length=2000, description="Where to, by https", examples=["https://hooks.example/usp"])
    wanted: WantedEvents = Field(default=WantedEvents(), description="Which events it is told of")


class ChangedWebhook(Body):
    """Whether it is told."""

    enabled: StrictBool = Field(description="true also tries at once what failed", examples=[True])


class Webhook(Model):
    """Who is told of events, and how far."""

    name: str = Field(description="Its name", examples=["siem"])
    url: str = Field(description="Where to", examples=["https://hooks.example/usp"])
    wanted: dict[str, str] = Field(description="Which events; empty: all", examples=[{"action": "file."}])
    enabled: bool = Field(description="Whether it is told", examples=[True])
    created_at: datetime
    delivered: int = Field(description="Events that were taken", examples=[1200])
    dead: int = Field(description="Events that were left out after a day of attempts", examples=[0])
    failures: int = Field(description="Attempts at the next event that failed", examples=[0])
    failing_since: datetime | None = Field(description="When the first of them was", examples=[None])
    retry_at: datetime | None = Field(description="When it is tried again", examples=[None])
    error: str = Field(description="What the last of them came to", examples=["HTTP 503"])

    @classmethod
    def of(cls, hook: rows.Webhook) -> Webhook:
        return cls(
            name=hook.name,
            url=hook.url,
            wanted=dict(hook.wanted),
            enabled=hook.enabled,
            created_at=hook.created_at,
            delivered=hook.delivered,
            dead=hook.dead,
            failures=hook.failures,
            failing_since=hook.failing_since,
            retry_at=hook.retry_at,
            error=hook.error,
        )


class MadeWebhook(Webhook):
    """With its secret, which is not shown again."""

    secret: str = Field(description="Verifies the signatures", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class Webhooks(Model):
    """Webhooks, by name."""

    items: list[Webhook]
    next: str | None


@router.get("", operation_id="list_webhooks")
async def list_webhooks(app: TheApp, actor: Asking, query: Paging) -> Webhooks:
    """Who is told of events, how far, and what fails."""
    page, following = cut(await app.webhooks.all(), lambda one: one.name, query)
    return Webhooks(items=[Webhook.of(one) for one in page], next=following)


@router.post("", operation_id="create_webhook", status_code=201)
async def create_webhook(app: TheApp, actor: Admin, body: NewWebhook) -> MadeWebhook:
    """Have somebody told of what happens from now on. The answer has the secret, this once."""
    wanted = {name: value for name, value in body.wanted.model_dump().items() if value}
    made = await app.webhooks.add(actor, body.name, body.url, wanted)
    return MadeWebhook(**Webhook.of(made).model_dump(), secret=made.secret.reveal())


@router.patch("/{name}", operation_id="change_webhook", status_code=204)
async def change_webhook(app: TheApp, actor: Admin, name: str, body: ChangedWebhook) -> None:
    """Stop telling it, or go on."""
    await app.webhooks.enable(actor, name, body.enabled)


@router.delete("/{name}", operation_id="delete_webhook", status_code=204)
async def delete_webhook(app: TheApp, actor: Admin, name: str) -> None:
    """Tell it no more."""
    await app.webhooks.remove(actor, name)
