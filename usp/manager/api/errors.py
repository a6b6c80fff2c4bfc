"""Every failure of the API as `application/problem+json` (RFC 9457), with a `code` of `usp.errors.CODES` and located
`errors`. One table says which HTTP status a kind of failure has.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from usp.errors import Kind, UspError
from usp.log import get_logger
from usp.wording import problems_in

log = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[Kind, HTTPStatus]] = {
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.STALE: HTTPStatus.PRECONDITION_FAILED,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.LIMITED: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_CODES: Final[Mapping[int, str]] = {404: "request.unknown", 413: "request.too_large"}
"""What the framework refuses by itself: status -> code; everything else is request.invalid."""

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people"},
        "code": {"type": "string", "description": "Which failure it is; stable"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "Refused or failed",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""For the OpenAPI document of every route."""


def answer(error: UspError, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The problem document of a failure; `status` only where the framework has its own, such as 405."""
    number = HTTPStatus(STATUS[error.kind] if status is None else status)
    document = {
        "type": "about:blank",
        "title": number.phrase,
        "status": number.value,
        "detail": error.message,
        "code": error.code,
        "errors": [{"loc": problem.loc, "msg": problem.msg} for problem in error.problems],
    }
    extra = {"WWW-Authenticate": "Bearer"} if number is HTTPStatus.UNAUTHORIZED else {}
    return Response(orjson.dumps(document), number, {**extra, **(headers or {})}, MEDIA_TYPE)


def unexpected(error: Exception) -> Response:
    """A bug: the log gets all of it, the caller nothing."""
    log.error("api.unexpected", exc_info=error)
    return answer(UspError("internal"))


def install(site: FastAPI) -> None:
    site.add_exception_handler(UspError, _failed)
    site.add_exception_handler(RequestValidationError, _malformed)
    site.add_exception_handler(HTTPException, _refused)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, UspError)
    if error.kind in (Kind.INTERNAL, Kind.UNAVAILABLE):
        log.warn("api.failed", exc_info=error)
    return answer(error)


async def _malformed(_: Request, error: Exception) -> Response:
    """`loc` begins with query, path or header; within the body it is just the way to the field."""
    assert isinstance(error, RequestValidationError)
    findings = [{**finding, "loc": _within_body(finding["loc"])} for finding in error.errors()]
    return answer(UspError("request.invalid", problems=problems_in(findings)))


def _within_body(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return loc[1:] if loc[:1] == ("body",) else loc


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "request.invalid")
    message = "" if error.status_code in _CODES else str(error.detail)
    return answer(UspError(code, message), error.status_code, error.headers)
