"""The OpenAPI document: complete, consistent, and true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest
from fastapi import FastAPI

from tests.unit.manager.api.calls import Api, refused
from tests.unit.manager.site import CA, MANAGER
from usp.manager.api import application, openapi
from usp.manager.api.examples import CERTIFICATE, ITEMS, TLS_KEY
from usp.manager.app import App
from usp.model import KINDS

OPERATIONS = Path(__file__).with_name("operations.txt")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return application(cast(App, None)).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def test_version(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")


def test_it_refers_to_nothing_that_is_not_there(document: dict[str, Any]) -> None:
    components = document["components"].items()
    assert references(document) <= {f"#/components/{part}/{name}" for part, names in components for name in names}


def test_ids_are_unique_and_stay(document: dict[str, Any]) -> None:
    """Clients are generated from them. New ones are added to the file with `make docs`; none is ever removed."""
    found = {where: operation["operationId"] for where, operation in operations(document)}
    assert len(set(found.values())) == len(found)
    assert "__" not in "".join(found.values())
    promised = dict(line.rsplit(" ", 1) for line in OPERATIONS.read_text().splitlines())
    assert promised.items() <= found.items()


def test_everything_is_described(document: dict[str, Any]) -> None:
    """A model without docstring, a field without description (or word in `WORDS`), a route without docstring..."""
    missing = []
    for where, operation in operations(document):
        parts = [("", operation), *((each["name"], each) for each in operation.get("parameters", ()))]
        missing += [f"{where} {name}" for name, part in parts if not part.get("description")]
        assert operation["summary"], where
    for name, schema in document["components"]["schemas"].items():
        parts = [("", schema), *schema.get("properties", {}).items()]
        missing += [f"{name}.{field}" for field, part in parts if not part.get("description")]
    tags = {tag["name"] for tag in document["tags"]}
    missing += [f"tag {tag}" for _, operation in operations(document) for tag in operation["tags"] if tag not in tags]
    assert missing == []


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from part.get("content", {}).values()


def test_everything_has_an_example_that_fits(document: dict[str, Any]) -> None:
    def fits(example: Any, schema: dict[str, Any], where: str) -> None:
        whole = {**schema, "components": document["components"]}
        wrong = [str(error) for error in jsonschema_rs.validator_for(whole).iter_errors(example)]
        assert wrong == [], where

    for name in document["components"]["schemas"]:
        schema = document["components"]["schemas"][name]
        fits(schema["examples"][0], {"$ref": openapi.SCHEMAS + name}, name)
    for where, operation in operations(document):
        for content in bodies(operation):
            fits(content["example"], content["schema"], where)
    for status, response in document["components"]["responses"].items():
        for content in response["content"].values():
            fits(content["example"], content["schema"], status)
            assert content["example"]["status"] == int(status)


def test_refusals_follow_from_what_is_taken(document: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: set(operation["responses"]) for _, operation in operations(document)}
    assert by_id["login"] == {"200", "401", "413", "422", "429", "500", "503"}
    assert by_id["list_rules"] == {"200", "304", "401", "403", "422", "500", "503"}
    assert by_id["replace_rule"] == {"200", "401", "403", "404", "409", "412", "413", "422", "500", "503"}
    assert by_id["push_server"] >= {"200", "202", "404", "409", "413", "422"}
    assert not any("default" in statuses for statuses in by_id.values())


async def test_the_examples_of_items_can_be_made(admin: Api) -> None:
    """All of them, one after another: they refer to each other."""
    assert ITEMS.keys() == KINDS.keys()
    real = {CERTIFICATE: {"ca-certificates": CA.cert, "tls-certificates": MANAGER.cert}, TLS_KEY: MANAGER.key}
    for kind, example in ITEMS.items():
        fields = dict(example)
        for name, value in example.items():
            if value == CERTIFICATE:
                fields[name] = cast(dict[str, str], real[CERTIFICATE])[kind]
            elif value == TLS_KEY:
                fields[name] = real[TLS_KEY]
        await admin.make(kind, **fields)


def test_methods_of_an_address(site: FastAPI) -> None:
    assert openapi.allowed(site, "/api/v1/items/rules") == ["GET", "HEAD", "OPTIONS", "POST"]
    assert openapi.allowed(site, "/api/v1/items/rules/x") == ["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]
    assert openapi.allowed(site, "/api/v1/login") == ["OPTIONS", "POST"]
    assert openapi.allowed(site, "/api/v1/events/stream") == ["GET", "OPTIONS"], "a stream has no end to measure"
    for nowhere in ("/api/v1/items/ducks", "/api/v1/", "/", "/api/v1/items/rules/", "/api/v1/items/rules/x/y"):
        assert openapi.allowed(site, nowhere) == []


async def test_head_is_get_without_the_body(admin: Api, nobody: Api) -> None:
    await admin.make("ip-filters", name="f")
    got, head = [await admin(method, "/items/ip-filters/f") for method in ("GET", "HEAD")]
    assert head.status_code == 200
    for name in ("etag", "content-type", "content-length"):
        assert head.headers[name] == got.headers[name]
    assert (await admin("HEAD", "/items/ip-filters/g")).status_code == 404
    assert (await nobody("HEAD", "/items/ip-filters/f")).status_code == 401
    assert (await admin("HEAD", "/login")).status_code == 405


async def test_options(nobody: Api) -> None:
    answer = await nobody("OPTIONS", "/items/rules")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    refused(await nobody("OPTIONS", "/nowhere"), 404, "request.unknown")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/items/rules/x", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("PUT", "/items/rules", "GET, HEAD, OPTIONS, POST"),
        ("TRACE", "/servers", "GET, HEAD, OPTIONS"),
        ("DELETE", "/login", "OPTIONS, POST"),
        ("BREW", "/events", "GET, HEAD, OPTIONS"),
    ],
)
async def test_other_methods(admin: Api, method: str, path: str, allow: str) -> None:
    answer = await admin(method, path)
    refused(answer, 405, "request.invalid")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/servers/", "/servers/a/b/c", "/items", "/login/x"])
async def test_unknown_addresses(nobody: Api, path: str) -> None:
    for method in ("GET", "POST", "PATCH", "OPTIONS"):
        refused(await nobody(method, path), 404, "request.unknown")
