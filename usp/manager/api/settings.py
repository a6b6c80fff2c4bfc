"""Settings that all managers share: the IP Filter that guards UI and API."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from usp.manager.api.access import Body
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.model import Model

router = APIRouter(prefix="/settings", tags=["settings"])


class GuardingFilter(Model):
    """Which addresses may talk to the managers."""

    ip_filter: str | None = Field(description="Name of the IP Filter in force; null: everybody may connect")


class WantedFilter(Body):
    """Which addresses shall talk to the managers."""

    ip_filter: str | None = Field(max_length=255, description="Name or id of an IP Filter; null: none")


@router.get("/ip-filter", operation_id="get_ip_filter_setting")
async def get_ip_filter(app: TheApp, actor: Asking) -> GuardingFilter:
    """The IP Filter that guards UI and API, if any."""
    record = await app.guard.current()
    return GuardingFilter(ip_filter=record.item.name if record else None)


@router.put("/ip-filter", operation_id="set_ip_filter_setting")
async def set_ip_filter(app: TheApp, actor: Admin, body: WantedFilter) -> GuardingFilter:
    """Which addresses may talk to the managers: in force at once here, within two seconds on the others. Loopback is
    always exempt; a filter that would refuse the address that asks, or every address, is itself refused."""
    record = await app.guard.choose(actor, body.ip_filter)
    return GuardingFilter(ip_filter=record.item.name if record else None)
