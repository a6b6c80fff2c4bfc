"""Configuration as code over HTTP: `GET` and `POST /export`, `POST /apply`. A passphrase travels in bodies only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from usp.manager import bulk
from usp.manager.api import etags
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.items import Json
from usp.manager.catalog import Catalog
from usp.manager.sets import Document
from usp.secret import Secret

router = APIRouter(tags=["catalog"])

EXAMPLE: Final[dict[str, Any]] = {"ip-filters": [{"name": "office", "allow": ["192.0.2.0/24"], "default": "block"}]}
_LIST: Final[dict[str, Any]] = {"type": "array", "items": {"type": "object"}}
ITEMS: Final[dict[str, Any]] = {
    "anyOf": [{"type": "object", "additionalProperties": _LIST}, _LIST],
    "description": "Kind -> items of it, each as in `POST /items/{kind}`; or a list of items that have a `kind`",
}

DryRun = Annotated[bool, Query(description="Only answer what would change")]
Prune = Annotated[bool, Query(description="Delete every item that is not in the set")]
IfMatch = Annotated[
    str | None, Header(description="The ETag of an export or a plan: refused with 412 when anything changed since")
]


class Sealing(BaseModel):
    """How an export is sealed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    passphrase: Secret = Field(description="Seals every secret of the export; at least 12 characters")


class Set(BaseModel):
    """Items by kind, each as in `POST /items/{kind}`; or a list of them that say their `kind`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    items: Annotated[Any, WithJsonSchema(ITEMS)] = Field(examples=[EXAMPLE])
    passphrase: Secret | None = Field(default=None, description="Opens the secrets of a sealed export")


class Export(BaseModel):
    """Everything that is configured, as `POST /apply` takes it."""

    items: dict[str, list[dict[str, Any]]] = Field(
        examples=[EXAMPLE],
        description="Kind -> items by name. Secrets are '***' (kept when applied), sealed, or '' (not set)",
    )


class PlanStep(BaseModel):
    """What happens to one item."""

    action: str = Field(description="create, update or delete")
    kind: str
    name: str
    fields: list[str] = Field(description="Public fields that are set or change", examples=[["allow"]])
    secrets: dict[str, str] = Field(examples=[{}], description="Secret field -> changed or unchanged")


class Planned(BaseModel):
    """What a set changes."""

    dry_run: bool = Field(description="Whether nothing was written")
    revision: int = Field(description="Of the whole configuration, also in the ETag")
    changes: list[PlanStep] = Field(description="In no order: all of it happens at once")
    unchanged: int = Field(description="How many items of the set are in place already")


def _export(found: tuple[Catalog, dict[str, list[Document]]]) -> Json:
    catalog, items = found
    return Json({"items": items}, headers={"ETag": etags.of(catalog.revision)})


@router.get("/export", operation_id="export", response_model=Export, summary="The whole configuration, without secrets")
async def export(app: TheApp, actor: Asking) -> Response:
    """The same configuration always gives the same text. `POST /apply` takes it."""
    return _export(await bulk.export(app))


@router.post("/export", operation_id="export_sealed", response_model=Export, summary="The same, with sealed secrets")
async def export_sealed(app: TheApp, actor: Admin, body: Sealing) -> Response:
    """Secrets are sealed with AES-256-GCM under a key that argon2id makes of the passphrase."""
    return _export(await bulk.export_sealed(app, actor, body.passphrase))


@router.post(
    "/apply",
    operation_id="apply",
    response_model=Planned,
    summary="Create, update and with prune delete items, all or nothing",
)
async def apply(
    app: TheApp,
    actor: Admin,
    body: Set,
    dry_run: DryRun = False,
    prune: Prune = False,
    if_match: IfMatch = None,
) -> Response:
    """Items are found by name. Secrets that are null, `***` or left out stay as they are; what was generated stays."""
    expected = None if if_match is None else etags.revisions(if_match, weak=False)
    plan = await bulk.apply(
        app,
        actor,
        {"items": body.items},
        passphrase=body.passphrase,
        prune=prune,
        dry_run=dry_run,
        expected=expected,
    )
    answer = {
        "dry_run": not plan.applied,
        "revision": plan.revision,
        "changes": [asdict(step) for step in plan.steps],
        "unchanged": plan.unchanged,
    }
    return Json(answer, headers={"ETag": etags.of(plan.revision)})
