"""The OpenAPI 3.1 document: what FastAPI reads out of the routes and models, completed by rules.

FastAPI knows parameters, bodies and what is answered when all goes well. From here come the answers to everything that
can go wrong (which follow from what an operation takes), tags with their descriptions, words for fields whose model
has none, and examples. A test sees to it that nothing in the document is without description and example, and that
the examples fit their schemas. The document also answers which methods an address has (RFC 9110, section 10.2.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from usp.manager.api import errors, examples, items
from usp.model import KINDS

STREAM: Final = "text/event-stream"
LOGINS: Final = (
    "login",
    "change_my_password",
    "enrol_my_totp",
    "renew_my_recovery_codes",
    "remove_my_totp",
)
"""The operations that take a password, and count the wrong ones."""
SCHEMAS: Final = "#/components/schemas/"

Operation = dict[str, Any]

DESCRIPTION: Final = """\
What a USP manager does, over HTTPS: configuration items, what is pushed to Proxy Servers, their state, administration.

* **Who you are**: `Authorization: Bearer TOKEN`, with an API token, or with what `POST /login` answers.
* **Errors** are `application/problem+json` (RFC 9457): `code` is stable, `errors` say where (`loc`) and what (`msg`).
* **Pages**: `limit` and `after`; an answer's `next` is the `after` of the next page, null at the end.
* **Revisions**: an item's ETag is its revision. `If-Match` refuses a write with 412 when the item has changed since,
  `If-None-Match` answers 304 while it has not.
* **Secrets** are written, never read: they are shown as null, and stay when left out of a PUT.
"""

TAGS: Final[Mapping[str, str]] = {
    "access": "Logging in and out, oneself, logins that are there, and who failed to log in too often.",
    "settings": "Settings that all managers share.",
    "users": "Administrators of the gateway. (Partners' logins are Accounts.)",
    "tokens": "API tokens, for scripts and other machines.",
    "servers": "Proxy Servers: what each of them reports, its configuration versions, and pushing new ones.",
    "sessions": "Partners that are connected, on all servers.",
    "events": "The audit trail: every write, login, failure, push, start and stop.",
    "webhooks": "Who is told of events, by signed requests.",
    "catalog": "All items at once: what is configured, as a file, and back.",
    "history": "What items were before.",
    "diagnose": "What would happen to a connection, and testing it.",
    **{kind: items.about(model) for kind, model in KINDS.items()},
}
"""tag -> what it is about, in the order in which they are shown; one that is not listed here is shown without."""

Applies = Callable[[str, str, Operation], bool]


def _takes(*places: str) -> Applies:
    def applies(path: str, method: str, operation: Operation) -> bool:
        return any(parameter["in"] in places for parameter in operation.get("parameters", ()))

    return applies


def _header(name: str) -> Applies:
    def applies(path: str, method: str, operation: Operation) -> bool:
        return any(parameter["name"].lower() == name for parameter in operation.get("parameters", ()))

    return applies


def _body(path: str, method: str, operation: Operation) -> bool:
    return "requestBody" in operation


def _secured(path: str, method: str, operation: Operation) -> bool:
    return "security" in operation


def _writes(path: str, method: str, operation: Operation) -> bool:
    return _secured(path, method, operation) and method != "get"


def _logs_in(path: str, method: str, operation: Operation) -> bool:
    return operation["operationId"] in LOGINS


def _always(path: str, method: str, operation: Operation) -> bool:
    return True


REFUSALS: Final[tuple[tuple[int, str, tuple[Applies, ...]], ...]] = (
    (401, "Not logged in, or not any more", (_always,)),
    (403, "The role does not allow this", (_secured,)),
    (404, "There is no such thing", (_takes("path"), _writes)),
    (409, "It clashes with what is there", (_writes,)),
    (
        412,
        "It was changed since it was read: none of the revisions in If-Match is the current one",
        (_header("if-match"),),
    ),
    (413, "The body is too large", (_body,)),
    (422, "The request is wrong: `errors` say where", (_takes("path", "query", "header"), _body)),
    (
        429,
        "Too many failed logins of the user or from the address: come again after `Retry-After` seconds",
        (_logs_in,),
    ),
    (500, "An unexpected failure; the manager's log has the details", (_always,)),
    (503, "The database, or a server that is needed for the answer, does not answer; try again", (_always,)),
)
"""status -> what it means -> for which operations (any of the conditions)."""


def build(site: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="USP manager",
        version=site.version,
        summary="Administration of an SFTP gateway",
        description=DESCRIPTION,
        routes=site.routes,
    )
    schemas = document["components"]["schemas"]
    schemas.update({**items.request_schemas(), **errors.SCHEMAS})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; ours are problems
        schemas.pop(name, None)
    for name, schema in schemas.items():
        _word(name, schema)
    for name, schema in schemas.items():
        schema.setdefault("examples", [examples.of_schema({"$ref": SCHEMAS + name}, schemas)])
    document["components"]["responses"] = {str(status): _refusal(status, meaning) for status, meaning, _ in REFUSALS}
    used = set()
    for path, method, operation in _operations(document):
        _complete(path, method, operation, schemas)
        used.update(operation["tags"])
    document["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used]
    document["components"]["securitySchemes"]["HTTPBearer"]["description"] = "From POST /login, or an API token"
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _word(name: str, schema: dict[str, Any]) -> None:
    """Descriptions of fields whose model has none, because they mean the same everywhere."""
    for field, about in schema.get("properties", {}).items():
        if "description" not in about and field in examples.WORDS:
            about["description"] = examples.WORDS[field].description


def _complete(path: str, method: str, operation: Operation, schemas: Mapping[str, Any]) -> None:
    responses = operation["responses"]
    for framework in ("default", "422"):
        responses.pop(framework, None)
    for status, meaning, conditions in REFUSALS:
        if any(applies(path, method, operation) for applies in conditions):
            own = responses.get(str(status))
            refusal = {"$ref": f"#/components/responses/{status}"}
            responses[str(status)] = {**_refusal(status, meaning), **own} if own else refusal
    if _header("if-none-match")(path, method, operation):
        responses["304"] = {"description": "It has still one of the revisions in If-None-Match"}
    operation["responses"] = dict(sorted(responses.items()))
    for part in (operation.get("requestBody", {}), *responses.values()):
        for content in part.get("content", {}).values():
            if "example" in content or "examples" in content or "$ref" in part:
                continue
            content["example"] = examples.of_schema(content["schema"], schemas)
    for parameter in operation.get("parameters", ()):
        word = examples.of_parameter(path, parameter["name"])
        if word and "description" not in parameter:
            parameter["description"] = word.description
        if word and "example" not in parameter and parameter["in"] == "path":
            parameter["example"] = word.example


def _refusal(status: int, meaning: str) -> dict[str, Any]:
    content = {"schema": {"$ref": SCHEMAS + "Problem"}, "example": errors.example(status)}
    response: dict[str, Any] = {"description": meaning, "content": {errors.MEDIA_TYPE: content}}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["headers"] = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
    return response


# --- which methods an address has ---


def allowed(site: FastAPI, path: str) -> list[str]:
    """The methods that the document has at that path; none: nothing is there. HEAD goes with a GET that ends."""
    found: set[str] = set()
    for template, operations in site.openapi()["paths"].items():
        if _pattern(template).fullmatch(path):
            found |= {method.upper() for method in operations} | {"OPTIONS"}
            answer = operations.get("get", {}).get("responses", {}).get("200", {})
            if "get" in operations and STREAM not in answer.get("content", {}):
                found.add("HEAD")
    return sorted(found)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/")))
