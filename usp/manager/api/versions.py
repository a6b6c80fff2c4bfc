"""Configuration versions of Proxy Servers: what they hold, how they differ, pushing, and going back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from usp.errors import UspError
from usp.manager import diff
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Limit
from usp.manager.pushes import Comparison, Pushed
from usp.manager.store import rows
from usp.model import Model
from usp.status import Complaint, PushState

router = APIRouter(prefix="/servers", tags=["servers"])

MAX_WAIT: Final = 300.0
MAX_COMMENT: Final = 1000

Number = Annotated[int | None, Query(ge=0, le=2**53)]
PathNumber = Annotated[int, Path(ge=0, le=2**53)]
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds to wait for it")]
Comment = Annotated[str, Field(max_length=MAX_COMMENT, description="Why; kept with the version")]


class Version(Model):
    """A configuration version of a server; `state` is what became of it."""

    server: str
    version: int
    digest: str
    state: PushState
    reason: str
    errors: tuple[Complaint, ...]
    catalog_revision: int
    author: str
    at: datetime
    pushed_at: datetime | None
    comment: str
    unchanged: bool = Field(default=False, description="The server has it already, so that no new version was made")

    @classmethod
    def of(cls, version: rows.Version, **more: Any) -> Version:
        return cls(
            server=version.server,
            version=version.number,
            digest=version.digest,
            state=version.push,
            reason=version.reason,
            errors=tuple(Complaint(loc=problem.loc, msg=problem.msg) for problem in version.problems),
            catalog_revision=version.catalog_revision,
            author=version.author,
            at=version.at,
            pushed_at=version.pushed_at,
            comment=version.comment,
            **more,
        )


class WholeVersion(Version):
    """A configuration version with what it holds; secrets read `***`."""

    content: dict[str, Any] = Field(
        description="As the server gets it, but secrets read `***`", examples=[{"listeners": []}]
    )


class Versions(Model):
    """Configuration versions, newest first."""

    items: list[Version]
    next: int | None


class FieldChange(Model):
    """A field that was changed."""

    field: str = Field(description="Its name", examples=["port"])
    before: Any = Field(description="Its value before; null: there was none", examples=[22])
    after: Any = Field(description="Its value afterwards; null: there is none", examples=[2022])
    text: str = Field(description="In words", examples=["port: 22 -> 2022"])
    secret: bool = Field(description="Then `before` and `after` tell only whether there is one")

    @classmethod
    def of(cls, change: diff.FieldChange) -> FieldChange:
        return cls(field=change.field, before=change.before, after=change.after, text=str(change), secret=change.secret)


class PartDifference(Model):
    """A Listener, Rule, Account ... that is added, removed or changed; `text` tells it in words."""

    change: diff.Change = Field(description="What became of it")
    kind: str = Field(description="What it is", examples=["Listener"])
    name: str
    owner: str = Field(description="What it belongs to: an Account's repository, a Proxy Client's Tunnel")
    fields: list[FieldChange] = Field(description="What changed in it")
    text: str = Field(description="All of it in words", examples=["Listener 'partners' changed; port: 22 -> 2022"])


class Port(Model):
    """A listening port and what listens there."""

    address: str
    port: int
    kind: str = Field(description="What listens there", examples=["Listener"])
    name: str

    @classmethod
    def of(cls, port: diff.Port) -> Port:
        return cls(address=port.address, port=port.port, kind=port.title, name=port.name)


class Effects(Model):
    """What a push will do on the server; `sentences` tell all of it."""

    opened: list[Port] = Field(description="Ports that it opens")
    closed: list[Port] = Field(description="Ports that it closes; sessions there go on")
    kept: list[Port] = Field(description="Ports that stay open all the while")
    sentences: list[str] = Field(description="All of it in words", examples=[["Opens 0.0.0.0:22 for Listener 'l'."]])


class Difference(Model):
    """From `version` (0: nothing) to `updated_version` (null: the configuration as it is now)."""

    server: str
    version: int
    digest: str
    updated_version: int | None = Field(description="The version that it is compared with", examples=[None])
    updated_digest: str
    newest: int = Field(description="The newest version, which may be on its way still")
    changed: bool = Field(description="Whether a push would bring anything new")
    differences: list[PartDifference] = Field(description="Everything that differs")
    effects: Effects = Field(description="What pushing the one after the other does")

    @classmethod
    def of(cls, found: Comparison) -> Difference:
        return cls(
            server=found.server,
            version=found.before.number or 0,
            digest=found.before.digest,
            updated_version=found.after.number,
            updated_digest=found.after.digest,
            newest=found.newest,
            changed=found.before.digest != found.after.digest,
            differences=[_part(difference) for difference in found.differences],
            effects=Effects(
                opened=[Port.of(port) for port in found.effects.opened],
                closed=[Port.of(port) for port in found.effects.closed],
                kept=[Port.of(port) for port in found.effects.kept],
                sentences=list(found.effects.sentences),
            ),
        )


def _part(found: diff.Difference) -> PartDifference:
    return PartDifference(
        change=found.change,
        kind=found.title,
        name=found.name,
        owner=found.owner,
        fields=[FieldChange.of(change) for change in found.fields],
        text=str(found),
    )


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Push(Body):
    """Why it is pushed."""

    comment: Comment = ""
    force: StrictBool = Field(
        default=False, description="Make a version even if the server has this configuration already"
    )


class Rollback(Push):
    """To which version, and why."""

    version: int = Field(strict=True, ge=1, le=2**53, description="Whose content is to be in force again")


@router.get("/{name}/diff", operation_id="diff_server")
async def diff_server(
    app: TheApp,
    actor: Asking,
    name: str,
    before: Annotated[Number, Query(alias="from", description="A version; else the one in force; 0: nothing")] = None,
    after: Annotated[Number, Query(alias="to", description="A version; else what a push would make now")] = None,
) -> Difference:
    """What a push would change, and what the server would do: or how two versions differ."""
    return Difference.of(await app.pushes.compare(name, before, after))


@router.get("/{name}/versions", operation_id="list_versions")
async def list_versions(
    app: TheApp,
    actor: Asking,
    name: str,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the page before")] = None,
) -> Versions:
    """Newest first."""
    server = (await app.server_record(name)).item.name
    page = await app.store.versions.page(server, before=after, limit=limit)
    following = page[-1].number if len(page) == limit else None
    return Versions(items=[Version.of(version) for version in page], next=following)


@router.get("/{name}/versions/{number}", operation_id="get_version")
async def get_version(app: TheApp, actor: Asking, name: str, number: PathNumber) -> WholeVersion:
    """One configuration version: what became of it, and what it holds."""
    version, content = await app.pushes.content(name, number)
    found = WholeVersion.of(version, content=content.model_dump(mode="json"))
    assert isinstance(found, WholeVersion)
    return found


APPLIED: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Version, "description": "Applied, or unchanged"}}


@router.post("/{name}/push", operation_id="push_server", status_code=202, responses=APPLIED)
async def push(
    app: TheApp, actor: Admin, response: Response, name: str, body: Push | None = None, wait: Wait = 0
) -> Version:
    """Make a new version of the server's configuration and push it. With `wait`: 200 applied, 409 rejected by the
    server (its reasons are the `errors`), 202 when it is not known yet. Nothing is made when nothing has changed."""
    body = body or Push()
    pushed = await app.pushes.push(actor, name, body.comment, force=body.force)
    return await _outcome(app, response, pushed, wait)


@router.post("/{name}/rollback", operation_id="rollback_server", status_code=202, responses=APPLIED)
async def rollback(app: TheApp, actor: Admin, response: Response, name: str, body: Rollback, wait: Wait = 0) -> Version:
    """Push the content of an older version, as a new version. The items stay as they are."""
    pushed = await app.pushes.rollback(actor, name, body.version, body.comment, force=body.force)
    return await _outcome(app, response, pushed, wait)


async def _outcome(app: TheApp, response: Response, pushed: Pushed, wait: float) -> Version:
    version = pushed.version
    if wait:
        version = await app.pushes.settled(version.server, version.number, wait)
    if version.push is PushState.REJECTED:
        raise UspError("push.rejected", version.reason, problems=version.problems)
    if version.push is PushState.APPLIED:
        response.status_code = 200
    return Version.of(version, unchanged=pushed.unchanged)
