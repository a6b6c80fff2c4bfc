"""Every failure of the API as `application/problem+json` (RFC 9457), with a `code` of `usp.errors.CODES` and located
`errors`. One table says which HTTP status a kind of failure has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from usp.errors import CODES, Kind, Problem, UspError
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
    Kind.LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_CODES: Final[Mapping[int, str]] = {404: "request.unknown", 413: "request.too_large"}
"""What the framework refuses by itself: status -> code; everything else is request.invalid."""

SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Problem": {
        "description": "A refusal or a failure (RFC 9457)",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "errors"],
        "properties": {
            "type": {"const": "about:blank", "description": "`code` says more"},
            "title": {"type": "string", "description": "The HTTP status in words", "examples": ["Not Found"]},
            "status": {"type": "integer", "description": "The HTTP status", "examples": [404]},
            "detail": {"type": "string", "description": "A sentence for people", "examples": ["no such item"]},
            "code": {
                "enum": sorted(CODES),
                "description": "Which failure it is; stable, and there may be more to come",
            },
            "errors": {
                "type": "array",
                "description": "What is wrong, and where",
                "items": {"$ref": "#/components/schemas/Finding"},
            },
        },
    },
    "Finding": {
        "description": "One thing that is wrong",
        "type": "object",
        "required": ["loc", "msg"],
        "properties": {
            "loc": {
                "type": "array",
                "description": "The way to it: names of fields, numbers in lists",
                "items": {"type": ["string", "integer"]},
                "examples": [["allow", 0]],
            },
            "msg": {"type": "string", "description": "What to do about it", "examples": ["is required"]},
        },
    },
}
"""For the OpenAPI document."""

_EXAMPLES: Final[Mapping[int, str]] = {
    401: "auth.invalid",
    403: "auth.forbidden",
    404: "item.not_found",
    409: "item.name_taken",
    412: "item.stale",
    413: "request.too_large",
    422: "item.invalid",
    429: "auth.locked",
    500: "internal",
    503: "database.unavailable",
}

RETRY_SECONDS: Final = 5
"""When what is away may be back: said with every answer that blames something that is away."""


def document(error: UspError, status: HTTPStatus) -> dict[str, Any]:
    """RFC 9457."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": error.message,
        "code": error.code,
        "errors": [{"loc": problem.loc, "msg": problem.msg} for problem in error.problems],
    }


def example(status: int) -> dict[str, Any]:
    """A problem that has that status."""
    problems = [Problem(("name",), "is required")] if status == HTTPStatus.UNPROCESSABLE_ENTITY else []
    return document(UspError(_EXAMPLES.get(status, "internal"), problems=problems), HTTPStatus(status))


def answer(error: UspError, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The problem document of a failure; `status` only where the framework has its own, such as 405."""
    number = HTTPStatus(STATUS[error.kind] if status is None else status)
    extra = {}
    if number is HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    if number is HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = str(RETRY_SECONDS)
    if "retry_after" in error.facts:
        extra["Retry-After"] = str(error.facts["retry_after"])
    return Response(orjson.dumps(document(error, number)), number, {**extra, **(headers or {})}, MEDIA_TYPE)


def unexpected(error: Exception) -> Response:
    """A bug: the log gets all of it, the caller nothing."""
    log.error("api.unexpected", exc_info=error)
    return answer(UspError("internal"))


def install(site: FastAPI, allowed: Callable[[str], list[str]]) -> None:
    """`allowed`: the methods that a path has."""

    async def refused(request: Request, error: Exception) -> Response:
        """What the framework refuses by itself. A body that it cannot read (400) is like one that does not fit."""
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "request.invalid")
        message = "" if error.status_code in _CODES else str(error.detail)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := allowed(request.url.path)):
            headers["Allow"] = ", ".join(methods)
        status = None if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
        return answer(UspError(code, message), status, headers)

    site.add_exception_handler(UspError, _failed)
    site.add_exception_handler(RequestValidationError, _malformed)
    site.add_exception_handler(HTTPException, refused)


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
