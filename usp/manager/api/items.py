"""Items of all kinds, generically: list, create, read, replace, delete. The models say what a kind's fields are.

An item is one flat object: its fields (references as ids, secrets as null) with what the manager adds (`ENVELOPE`).
Its ETag is its revision; a write with `If-Match` (RFC 9110, section 13.1.1) is refused when that is not the current
one, and a GET with `If-None-Match` answers 304 when it still is. Bodies go to the catalog as they came, so that there
is one place that says what is wrong with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema

from usp.errors import UspError
from usp.manager.api import etags, lists
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import ItemQuery
from usp.manager.app import App
from usp.manager.catalog import Create, Delete, Update
from usp.manager.entry import GENERATED, NewCa, NewCertificate
from usp.manager.keys import public
from usp.manager.kinds import ENVELOPE, MADE, model_of, secrets
from usp.model import KINDS, CaCertificate, Item, PrivateKey, PublicKey, Record, TlsCertificate

PATH: Final = "/api/v1/items"
PUBLIC_KINDS: Final = frozenset({*MADE, PublicKey.kind})
KINDS_BY_MODEL: Final = {model.__name__: kind for kind, model in KINDS.items()}

IfMatch = Annotated[
    str | None, Header(description="ETags of the item: refused with 412 when it has none of these revisions any more")
]
IfNoneMatch = Annotated[str | None, Header(description="ETags that one has: answered with 304 when nothing changed")]
Wanted = Annotated[ItemQuery, Query()]


class Envelope(BaseModel):
    """What the manager adds to an item. In a PUT it is ignored, so that what was read can be sent back."""

    id: str
    kind: str
    revision: int
    created_at: datetime
    updated_at: datetime
    facts: dict[str, str | int] = Field(description="Read out of keys and certificates")


assert Envelope.model_fields.keys() == ENVELOPE


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_UTC_Z)  # as pydantic writes times


def document(record: Record) -> dict[str, Any]:
    """The item as it is answered: never with a secret."""
    fields = record.item.model_dump(mode="json")
    fields.update(dict.fromkeys(secrets(type(record.item))))
    return {
        "id": record.id,
        "kind": record.kind,
        **fields,
        "revision": record.revision,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "facts": dict(record.facts),
    }


def _answer(record: Record, status: int = 200, headers: Mapping[str, str] | None = None) -> Json:
    return Json(document(record), status, {"ETag": etags.of(record.revision), **(headers or {})})


def _unchanged(revision: int) -> Response:
    return Response(status_code=304, headers={"ETag": etags.of(revision)})


async def _fields(request: Request, ignored: frozenset[str] = frozenset()) -> dict[str, Any] | bytes:
    """The body; what is not a JSON object goes to the catalog as it is, which says so."""
    body = await request.body()
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(fields, dict):
        return body
    return {name: value for name, value in fields.items() if name not in ignored}


async def _expected(app: App, kind: str, key: str, if_match: str | None) -> int | None:
    """The revision that the item must still have when it is written; None: any. UspError item.stale."""
    wanted = None if if_match is None else etags.revisions(if_match, weak=False)
    if wanted is None:
        return None
    revision = (await app.catalog()).get(kind, key).revision
    if revision not in wanted:
        raise UspError("item.stale", f"it has revision {revision}, which If-Match does not name: read it again")
    return revision


# --- the routes ---

ETAG: Final = {"headers": {"ETag": {"description": "The revision", "schema": {"type": "string", "examples": ['"42"']}}}}


def _add(router: APIRouter, kind: str, model: type[Item]) -> None:
    one, many = model.title.lower().replace(" ", "_"), kind.replace("-", "_")
    shown = _shown(model)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": shown, **ETAG}}
    body = {"required": True, "content": {"application/json": {"schema": _ref(model)}}}
    tags: list[Any] = [kind]

    @router.get(
        f"/{kind}",
        operation_id=f"list_{many}",
        tags=tags,
        summary=f"All of the {kind}, by name",
        description=f"{about(model)}\n\nThe ETag is the catalog's revision: a list is unchanged while nothing changed.",
        response_model=None,
        responses={200: {"model": _page(model, shown), **ETAG}},
    )
    async def list_(app: TheApp, actor: Asking, query: Wanted, if_none_match: IfNoneMatch = None) -> Response:
        catalog = await app.catalog()
        if etags.unchanged(if_none_match, catalog.revision):
            return _unchanged(catalog.revision)
        page, following = lists.page(catalog, kind, query)
        content = {"items": [document(record) for record in page], "next": following}
        return Json(content, headers={"ETag": etags.of(catalog.revision)})

    @router.post(
        f"/{kind}",
        operation_id=f"create_{one}",
        tags=tags,
        summary=f"Make a {model.title}",
        description="References may be given by id or by name. `Location` is where it is found from now on.",
        status_code=201,
        response_model=None,
        responses={201: {"model": shown, **ETAG}},
        openapi_extra={"requestBody": body},
    )
    async def create(app: TheApp, actor: Admin, request: Request) -> Response:
        delta = await app.write(actor, [Create(kind, await _fields(request))])
        (record,) = delta.creates
        return _answer(record, 201, {"Location": f"{PATH}/{kind}/{record.id}"})

    @router.get(
        f"/{kind}/{{key}}",
        operation_id=f"get_{one}",
        tags=tags,
        summary=f"One {model.title}",
        description="By id or by name. References are shown as ids, secrets as null.",
        response_model=None,
        responses=answers,
    )
    async def get(app: TheApp, actor: Asking, key: str, if_none_match: IfNoneMatch = None) -> Response:
        record = (await app.catalog()).get(kind, key)
        return _unchanged(record.revision) if etags.unchanged(if_none_match, record.revision) else _answer(record)

    if kind in PUBLIC_KINDS:

        @router.get(
            f"/{kind}/{{key}}/public",
            operation_id=f"download_{one}",
            tags=tags,
            summary=f"The public part of a {model.title}",
            description="What others are given of it, as a file: a certificate (PEM), or a public key (one line).",
            response_class=PlainTextResponse,
        )
        async def download(app: TheApp, actor: Asking, key: str) -> Response:
            record = (await app.catalog()).get(kind, key)
            suffix, text = public(record)
            file = {"Content-Disposition": f'attachment; filename="{record.item.name}.{suffix}"'}
            return PlainTextResponse(text, headers=file)

    @router.put(
        f"/{kind}/{{key}}",
        operation_id=f"replace_{one}",
        tags=tags,
        summary=f"Replace a {model.title}",
        description="All fields are replaced: one that is left out gets its default. Only secrets stay, when they are "
        "left out, null or `***`. What the manager adds to an item is ignored, so that what was read can be sent back.",
        response_model=None,
        responses=answers,
        openapi_extra={"requestBody": body},
    )
    async def replace(app: TheApp, actor: Admin, request: Request, key: str, if_match: IfMatch = None) -> Response:
        expected = await _expected(app, kind, key, if_match)
        delta = await app.write(actor, [Update(kind, key, await _fields(request, ENVELOPE), expected)])
        return _answer(delta.updates[0] if delta.updates else (await app.catalog()).get(kind, key))

    @router.delete(
        f"/{kind}/{{key}}",
        operation_id=f"delete_{one}",
        tags=tags,
        summary=f"Delete a {model.title}",
        description="Refused with 409 while other items refer to it; `errors` name them.",
        status_code=204,
        response_model=None,
    )
    async def delete(app: TheApp, actor: Admin, key: str, if_match: IfMatch = None) -> Response:
        await app.write(actor, [Delete(kind, key, await _expected(app, kind, key, if_match))])
        return Response(status_code=204)


async def _elsewhere(actor: Asking, kind: str) -> None:
    """What no route of a kind has taken."""
    model_of(kind)
    raise HTTPException(405, "there is no such method here")


# --- OpenAPI ---


def about(model: type[Item]) -> str:
    """What a kind is."""
    return inspect.getdoc(model) or ""


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _shown(model: type[Item]) -> type[BaseModel]:
    """An item of this kind as it is answered."""
    assert not ENVELOPE & model.model_fields.keys(), model.kind
    fields: dict[str, Any] = {
        name: (None if name in secrets(model) else info.annotation, Field(description=info.description))
        for name, info in model.model_fields.items()
    }
    doc = f"{model.title}, as it is answered: references are ids, secrets null."
    return create_model(f"{model.__name__}Record", __base__=Envelope, __doc__=doc, **fields)


def _page(model: type[Item], shown: type[BaseModel]) -> type[BaseModel]:
    doc = f"{model.title}: a page of them, by name."
    return create_model(f"{shown.__name__}s", __doc__=doc, items=(list[shown], ...), next=(str | None, ...))  # type: ignore[valid-type]


def request_schemas() -> dict[str, Any]:
    """name -> schema of what may be sent, for all kinds."""
    models = [(model, "validation") for model in KINDS.values()]
    _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = found["$defs"]
    wishes: Mapping[str, Any] = {
        PrivateKey.__name__: {"enum": list(GENERATED)},
        CaCertificate.__name__: NewCa.model_json_schema(),
        TlsCertificate.__name__: NewCertificate.model_json_schema(),
    }
    for name, wish in wishes.items():
        schema, made = schemas[name], MADE[KINDS_BY_MODEL[name]]
        schema["properties"]["generate"] = {**wish, "description": f"Make it here, in place of {' and '.join(made)}"}
        schema["properties"]["passphrase"] = {
            "type": ["string", "null"],
            "writeOnly": True,
            "description": "Opens an encrypted private_key; it is not kept",
        }
        schema["required"] = [field for field in schema["required"] if field not in made]
    return schemas


router = APIRouter(prefix="/items")
for _kind, _model in KINDS.items():
    _add(router, _kind, _model)
for _path in ("/{kind}", "/{kind}/{key}"):
    router.add_api_route(_path, _elsewhere, methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False)
