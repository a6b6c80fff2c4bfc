"""Configuration: all kinds of items, generically. A list with search, order and bulk changes; one page to make, edit,
duplicate and delete an item. What a form has follows from the models (usp.manager.ui.fields); what is sent goes to the
same catalog as the API's writes, and its findings come back to the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from usp.errors import Kind, Problem, UspError
from usp.manager.api.errors import STATUS
from usp.manager.api.items import about
from usp.manager.catalog import Catalog, Create, Delete, Update
from usp.manager.kinds import MADE, model_of, secrets
from usp.manager.ui import made, pages
from usp.manager.ui.fields import Field, fields_of
from usp.manager.ui.forms import Sent, document_of, entries, unkept, unplaced
from usp.manager.ui.listing import Wanted, link, listing
from usp.manager.ui.navigation import plural
from usp.manager.ui.visits import Visit, Visiting
from usp.model import KINDS, Item, Record

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/items"
PICKED: Final = 100
"""Up to so many items are a list to choose from; more are searched."""
HISTORY: Final = 50
"""So many revisions are on a page."""
REFUSALS: Final = (Kind.INVALID, Kind.CONFLICT, Kind.STALE)
"""What the form is shown again for."""

Text = Annotated[str, Query(max_length=400)]


async def sent_form(visit: Visit) -> Sent:
    """Texts only: files come as text."""
    form = await visit.request.form()
    return {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in form}


# --- lists ---


@router.get("/items/{kind}")
async def all_items(
    visit: Visiting, kind: str, q: Text = "", state: Text = "", sort: Text = "name", page: int = 1
) -> Response:
    model = model_of(kind)
    wanted = Wanted(q, state, sort, page)
    found = listing(await visit.app.catalog(), kind, wanted)
    return pages.page(
        visit,
        "items.html",
        plural(model),
        at=kind,
        kind=kind,
        model=model,
        about=about(model),
        listing=found,
        wanted=wanted,
    )


@router.post("/items/{kind}/bulk")
async def bulk(visit: Visiting, kind: str) -> Response:
    """Enable, disable or delete those that are chosen, all or none."""
    sent, model = await sent_form(visit), model_of(kind)
    chosen, verb = sent.get("id", ()), (sent.get("verb") or [""])[-1]
    if not chosen:
        return pages.done(visit, f"{PATH}/{kind}", "Nothing was chosen.")
    catalog = await visit.app.catalog()
    records = [catalog.get(kind, id) for id in chosen]
    if verb == "delete":
        await visit.app.write(visit.actor, [Delete(kind, each.id) for each in records])
        return pages.onward(f"{PATH}/{kind}", f"{counted(len(records), model)} deleted.")
    if verb not in ("enable", "disable"):
        raise UspError("request.invalid", problems=[Problem(("verb",), "must be enable, disable or delete")])
    enabled = verb == "enable"
    changes = [
        Update(kind, each.id, {**each.item.model_dump(mode="json"), "enabled": enabled}, each.revision)
        for each in records
    ]
    await visit.app.write(visit.actor, changes)
    said = f"{counted(len(records), model)} {'enabled' if enabled else 'disabled'}. Servers notice with the next push."
    return pages.onward(f"{PATH}/{kind}", said)


def counted(number: int, model: type[Item]) -> str:
    return f"{number} {model.title if number == 1 else plural(model)}"


@router.get("/options/{kind}")
async def options(visit: Visiting, kind: str, q: Text = "") -> Response:
    """What there is to pick, for forms that are open already."""
    return JSONResponse(choices(await visit.app.catalog(), kind, q), headers=pages.HEADERS)


def choices(catalog: Catalog, kind: str, q: str = "") -> dict[str, Any]:
    records = catalog.of_kind(kind)
    found = [record for record in records if q.lower() in record.item.name.lower()]
    names = [[record.id, record.item.name] for record in found[:PICKED]]
    return {"all": len(records), "items": names}


# --- one item ---


@router.get("/items/{kind}/new")
async def new(visit: Visiting, kind: str, of: Text = "") -> Response:
    model = model_of(kind)
    catalog = await visit.app.catalog()
    document: dict[str, Any] = {"enabled": True}
    if of:
        document = shown_document(catalog.get(kind, of))
        document["name"] = free_name(catalog, kind, document["name"])
    for name in visit.request.query_params:
        known = next((field for field in fields_of(model) if field.name == name), None)
        if known is not None and not of and name not in secrets(model):
            document.update(document_of([known], {name: [visit.request.query_params[name]]}))
    return _form(visit, catalog, model, document, copied=bool(of))


@router.post("/items/{kind}/new")
async def create(visit: Visiting, kind: str) -> Response:
    model = model_of(kind)
    sent = await sent_form(visit)
    document = made.wish(kind, sent, document_of(fields_of(model), sent))
    try:
        delta = await visit.app.write(visit.actor, [Create(kind, document)])
    except UspError as error:
        return await _again(visit, model, document, error, sent)
    (record,) = delta.creates
    return pages.onward(
        f"{PATH}/{kind}/{record.id}", f"{model.title} {record.item.name} was made. Servers get it with the next push."
    )


@router.get("/items/{kind}/{key}")
async def one(visit: Visiting, kind: str, key: str) -> Response:
    catalog = await visit.app.catalog()
    record = catalog.get(kind, key)
    return _form(visit, catalog, model_of(kind), shown_document(record), record=record)


@router.post("/items/{kind}/{key}")
async def replace_item(visit: Visiting, kind: str, key: str) -> Response:
    model = model_of(kind)
    sent = await sent_form(visit)
    document = made.wish(kind, sent, document_of(fields_of(model), sent))
    revision = (sent.get("revision") or [""])[-1]
    expected = int(revision) if revision.isascii() and revision.isdecimal() and len(revision) < 19 else None
    if expected is None:
        raise UspError("request.invalid", problems=[Problem(("revision",), "is missing: load the page again")])
    try:
        delta = await visit.app.write(visit.actor, [Update(kind, key, document, expected)])
    except UspError as error:
        return await _again(visit, model, document, error, sent, key)
    name = document.get("name", "")
    said = f"{model.title} {name} was changed. Servers get it with the next push."
    return pages.onward(f"{PATH}/{kind}/{key}", said if delta.updates else "Nothing was changed.")


@router.get("/items/{kind}/{key}/history")
async def history(visit: Visiting, kind: str, key: str, before: int | None = None) -> Response:
    """Who changed what; also of an item that is gone."""
    model = model_of(kind)
    revisions, following = await visit.app.history.of(kind, key, before=before, limit=HISTORY)
    return pages.page(
        visit,
        "history.html",
        f"History of {revisions[0].name}",
        at=kind,
        kind=kind,
        key=key,
        model=model,
        revisions=revisions,
        following=following,
        there=(await visit.app.catalog()).find(kind, key) is not None,
    )


@router.post("/items/{kind}/{key}/delete")
async def delete(visit: Visiting, kind: str, key: str) -> Response:
    catalog = await visit.app.catalog()
    record = catalog.get(kind, key)
    try:
        await visit.app.write(visit.actor, [Delete(kind, record.id)])
    except UspError as error:
        if error.kind not in REFUSALS:
            raise
        found = shown_document(record)
        return _form(visit, catalog, model_of(kind), found, record=record, error=error, status=STATUS[error.kind])
    return pages.onward(f"{PATH}/{kind}", f"{record.item.title} {record.item.name} was deleted.")


async def _again(
    visit: Visit, model: type[Item], document: dict[str, Any], error: UspError, sent: Sent, key: str = ""
) -> Response:
    """The form as it was sent, with what is wrong; secrets have to be typed again."""
    if error.kind not in REFUSALS:
        raise error
    catalog = await visit.app.catalog()
    record = catalog.find(model.kind, key) if key else None
    if key and record is None:
        raise error
    clean = {name: value for name, value in document.items() if name not in secrets(model)}
    theirs: list[tuple[str, str, str]] = []
    if error.kind is Kind.STALE and record is not None:
        theirs = differences(catalog, model, shown_document(record), clean)
    return _form(
        visit, catalog, model, clean, record=record, error=error, status=STATUS[error.kind], theirs=theirs, sent=sent
    )


def _form(
    visit: Visit,
    catalog: Catalog,
    model: type[Item],
    document: Mapping[str, Any],
    *,
    record: Record | None = None,
    error: UspError | None = None,
    status: int = 200,
    theirs: Sequence[tuple[str, str, str]] = (),
    copied: bool = False,
    sent: Sent | None = None,
) -> Response:
    problems = error.problems if error is not None and error.kind is not Kind.STALE else ()
    fields = made.fields(model.kind, fields_of(model), exists=record is not None)
    shown = entries(fields, {**document, **made.sent_values(model.kind, sent)}, problems)
    kinds = {field.kind for field in every(fields) if field.kind}
    return pages.page(
        visit,
        "item.html",
        record.item.name if record else f"New {model.title}",
        at=model.kind,
        status=status,
        kind=model.kind,
        may_change=visit.may_change,
        model=model,
        about=about(model),
        entries=shown,
        record=record,
        document=document,
        error=error,
        above=unplaced(shown, problems),
        theirs=theirs,
        copied=copied,
        stored={name for name in secrets(model) if record is not None and getattr(record.item, name) is not None},
        options={kind: choices(catalog, kind) for kind in kinds},
        names={id: each.item.name for id, each in catalog.records.items() if each.kind in kinds},
        titles={kind: KINDS[kind].title for kind in kinds},
        unkept=unkept(fields_of(model), document) if record else (),
        referrers=[(link(catalog, by.kind, by.id), by.item.title, field) for by, field in catalog.referrers(record.id)]
        if record
        else [],
        has_public=record is not None and model.kind in (*MADE, "public-keys"),
    )


def every(fields: Sequence[Field]) -> list[Field]:
    return [inner for field in fields for inner in (field, *every(field.fields))]


def shown_document(record: Record) -> dict[str, Any]:
    """What a form begins with: no secret."""
    return {**record.item.model_dump(mode="json"), **dict.fromkeys(secrets(type(record.item)))}


def free_name(catalog: Catalog, kind: str, name: str) -> str:
    """`name-2`, or the next one that nobody has."""
    number = 2
    while catalog.find(kind, f"{name[:240]}-{number}"):
        number += 1
    return f"{name[:240]}-{number}"


def differences(
    catalog: Catalog, model: type[Item], theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """(label, what is there now, what was to be saved) of the fields that differ."""
    found = []
    for field in fields_of(model):
        mine = ours.get(field.name, field.default)
        if field.name not in secrets(model) and mine != theirs.get(field.name):
            found.append((field.label, told(catalog, field, theirs.get(field.name)), told(catalog, field, mine)))
    return found


def told(catalog: Catalog, field: Field, value: Any) -> str:
    """A value in words."""
    if field.kind:
        ids = [] if value is None else [value] if isinstance(value, str) else value
        return ", ".join(link(catalog, field.kind, id).name for id in ids) or "none"
    if isinstance(value, Mapping):
        inner = {each.name: each for each in field.fields}
        parts = [f"{inner[name].label}: {told(catalog, inner[name], each)}" for name, each in value.items() if each]
        return "; ".join(parts) or "as it comes"
    if isinstance(value, list):
        return ", ".join(told(catalog, replace(field, kind=""), each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)
