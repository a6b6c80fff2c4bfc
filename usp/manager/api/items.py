"""Items of all kinds, generically: list, create, read, replace, delete. The models say what a kind's fields are.

An item is one flat object: its fields (references as ids, secrets as null) with what the manager adds (`ENVELOPE`).
Its ETag is its revision; a write with `If-Match` (RFC 9110, section 13.1.1) is refused when that is not the current
one. Bodies go to the catalog as they came, so that there is one place that says what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema

from usp.errors import UspError
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.catalog import Create, Delete, Update
from usp.manager.entry import GENERATED, NewCa, NewCertificate
from usp.manager.keys import public
from usp.manager.kinds import ENVELOPE, MADE, model_of, secrets
from usp.model import KINDS, CaCertificate, Item, PrivateKey, PublicKey, Record, TlsCertificate

PATH: Final = "/api/v1/items"
PUBLIC_KINDS: Final = frozenset({*MADE, PublicKey.kind})
KINDS_BY_MODEL: Final = {model.__name__: kind for kind, model in KINDS.items()}

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at the most")]
After = Annotated[str, Query(max_length=255, description="`next` of the page before")]
IfMatch = Annotated[str | None, Header(description="The item's ETag: refused with 412 when it was changed since")]


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
    return Json(document(record), status, {"ETag": f'"{record.revision}"', **(headers or {})})


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


def expected_revision(if_match: str | None) -> int | None:
    """The revision that the item must still have. None: any."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip()
    number = tag[1:-1]
    if len(tag) > 2 and tag[0] == tag[-1] == '"' and number.isascii() and number.isdecimal() and len(number) < 19:
        return int(number)
    raise UspError("item.stale", 'If-Match must be the ETag of the item, such as "12"')


# --- the routes ---


def _add(router: APIRouter, kind: str, model: type[Item]) -> None:
    one, many = model.title.lower().replace(" ", "_"), kind.replace("-", "_")
    shown = _shown(model)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": shown}}
    body = {"required": True, "content": {"application/json": {"schema": _ref(model)}}}
    tags: list[Any] = [kind]

    @router.get(
        f"/{kind}",
        operation_id=f"list_{many}",
        tags=tags,
        summary=f"All of the {kind}, by name",
        response_model=None,
        responses={200: {"model": _page(shown)}},
    )
    async def list_(app: TheApp, actor: Asking, limit: Limit = 100, after: After = "") -> Response:
        records = (await app.catalog()).of_kind(kind)
        rest = [record for record in records if record.item.name > after]
        page = rest[:limit]
        following = page[-1].item.name if len(rest) > limit else None
        return Json({"items": [document(record) for record in page], "next": following})

    @router.post(
        f"/{kind}",
        operation_id=f"create_{one}",
        tags=tags,
        summary=f"Make a {model.title}",
        status_code=201,
        response_model=None,
        responses={201: {"model": shown}},
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
        summary=f"One {model.title}, by id or name",
        response_model=None,
        responses=answers,
    )
    async def get(app: TheApp, actor: Asking, key: str) -> Response:
        return _answer((await app.catalog()).get(kind, key))

    if kind in PUBLIC_KINDS:

        @router.get(
            f"/{kind}/{{key}}/public",
            operation_id=f"download_{one}",
            tags=tags,
            summary=f"What others are given of a {model.title}: its certificate (PEM), or its public key (one line)",
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
        summary=f"Replace all fields of a {model.title}; secrets that are null or left out stay",
        response_model=None,
        responses=answers,
        openapi_extra={"requestBody": body},
    )
    async def replace(app: TheApp, actor: Admin, request: Request, key: str, if_match: IfMatch = None) -> Response:
        change = Update(kind, key, await _fields(request, ENVELOPE), expected_revision(if_match))
        delta = await app.write(actor, [change])
        return _answer(delta.updates[0] if delta.updates else (await app.catalog()).get(kind, key))

    @router.delete(
        f"/{kind}/{{key}}",
        operation_id=f"delete_{one}",
        tags=tags,
        summary=f"Delete a {model.title} that nothing refers to",
        status_code=204,
        response_model=None,
    )
    async def delete(app: TheApp, actor: Admin, key: str, if_match: IfMatch = None) -> Response:
        await app.write(actor, [Delete(kind, key, expected_revision(if_match))])
        return Response(status_code=204)


async def _elsewhere(actor: Asking, kind: str) -> None:
    """What no route of a kind has taken."""
    model_of(kind)
    raise HTTPException(405, "there is no such method here")


# --- OpenAPI ---


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _shown(model: type[Item]) -> type[BaseModel]:
    """An item of this kind as it is answered."""
    assert not ENVELOPE & model.model_fields.keys(), model.kind
    fields: dict[str, Any] = {
        name: (None if name in secrets(model) else info.annotation, Field(description=info.description))
        for name, info in model.model_fields.items()
    }
    return create_model(f"{model.__name__}Record", __base__=Envelope, **fields)


def _page(shown: type[BaseModel]) -> type[BaseModel]:
    return create_model(f"{shown.__name__}s", items=(list[shown], ...), next=(str | None, ...))  # type: ignore[valid-type]


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
