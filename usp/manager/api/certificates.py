"""Certificates that come to an end."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import Field

from usp import expiry
from usp.manager.api.auth import Asking, TheApp
from usp.manager.api.lists import Paging, cut
from usp.manager.expiring import Known
from usp.model import Model

router = APIRouter(prefix="/certificates", tags=["servers"])


class Certificate(Model):
    """A certificate that a daemon or an item has."""

    id: str = Field(description="Where it is, and its name there", examples=["usp-server-1:web.tls.cert"])
    where: str = Field(description="The Proxy Server that reports it, or the manager", examples=["usp-server-1"])
    name: str = Field(
        description="The argument of the configuration file that names it, or kind/name of the item",
        examples=["web.tls.cert"],
    )
    until: datetime = Field(description="When it ends", examples=["2028-01-01T12:00:00Z"])
    warning: str = Field(description="What to do, from thirty days before the end on; else empty", examples=[""])

    @classmethod
    def of(cls, known: Known, now: float) -> Certificate:
        found = known.certificate
        return cls(
            id=f"{known.where}:{found.name}",
            where=known.where,
            name=found.name,
            until=datetime.fromtimestamp(found.until, UTC),
            warning=expiry.warning(found.name, found.until, now),
        )


class Certificates(Model):
    """Certificates, by id."""

    items: list[Certificate]
    next: str | None


@router.get("", operation_id="list_certificates")
async def list_certificates(app: TheApp, actor: Asking, query: Paging) -> Certificates:
    """How long all certificates are valid: those of Proxy Servers and of this manager, and the items."""
    now = app.clock().timestamp()
    found = [Certificate.of(known, now) for known in await app.expiring.all()]
    page, following = cut(sorted(found, key=lambda one: one.id), lambda one: one.id, query)
    return Certificates(items=page, next=following)
