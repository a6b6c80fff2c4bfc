"""The history of items."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from usp.manager import history
from usp.manager.api.auth import Asking, TheApp
from usp.manager.api.lists import Limit
from usp.manager.api.versions import FieldChange
from usp.model import Model

router = APIRouter(prefix="/items", tags=["history"])


class Revision(Model):
    """What one write did to an item."""

    item_id: str = Field(description="The item's id")
    revision: int
    action: str = Field(description="create, update or delete", examples=["update"])
    name: str
    author: str
    at: datetime
    changes: list[FieldChange] = Field(description="Public fields; references by name, as far as it is still there")
    secrets: dict[str, str] = Field(
        description="Secret field -> changed or unchanged", examples=[{"password": "changed"}]
    )

    @classmethod
    def of(cls, revision: history.Revision) -> Revision:
        return cls(
            item_id=revision.item_id,
            revision=revision.revision,
            action=revision.action,
            name=revision.name,
            author=revision.author,
            at=revision.at,
            changes=[FieldChange.of(change) for change in revision.changes],
            secrets={name: "changed" if changed else "unchanged" for name, changed in revision.secrets.items()},
        )


class Revisions(Model):
    """What was done to an item, newest first."""

    items: list[Revision]
    next: int | None


@router.get("/{kind}/{key}/history", operation_id="item_history")
async def item_history(
    app: TheApp,
    actor: Asking,
    kind: str,
    key: str,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the page before")] = None,
) -> Revisions:
    """Who changed what and when, newest first: of an item by id or name, also when it is deleted."""
    found, following = await app.history.of(kind, key, before=after, limit=limit)
    return Revisions(items=[Revision.of(revision) for revision in found], next=following)
