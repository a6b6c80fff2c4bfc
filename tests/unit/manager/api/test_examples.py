"""Examples made from schemas. (That those of the real document fit is tested in test_openapi.)"""

from __future__ import annotations

from typing import Any

import pytest

from usp.manager.api.examples import MOMENT, WORDS, of_parameter, of_schema

SCHEMAS: dict[str, Any] = {
    "Colour": {"enum": ["red", "running"]},
    "Thing": {"type": "object", "properties": {"port": {"type": "integer"}, "state": {"$ref": "#/s/Colour"}}},
    "Chain": {"type": "object", "properties": {"more": {"type": "array", "items": {"$ref": "#/s/Chain"}}}},
}


@pytest.mark.parametrize(
    ("schema", "name", "example"),
    [
        ({"type": "string"}, "", "text"),
        ({"type": "string", "format": "date-time"}, "", MOMENT),
        ({"type": "integer", "minimum": 3}, "", 3),
        ({"type": "number"}, "", 1.0),
        ({"type": "boolean"}, "", True),
        ({"type": "null"}, "", None),
        ({"const": "x"}, "", "x"),
        ({"type": "string", "examples": ["y"]}, "name", "y"),
        ({"type": "string", "default": "d"}, "", "d"),
        ({"type": "string", "default": "d"}, "name", "partners"),
        ({"type": "integer"}, "name", 1),
        ({"type": "boolean"}, "port", True),
        ({"type": "array", "items": {"type": "string"}}, "ciphers", WORDS["ciphers"].example),
        ({"type": "array", "items": {"type": "integer"}}, "ciphers", [1]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "", "text"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "private_key", None),
        ({"$ref": "#/s/Colour"}, "", "red"),
        ({"$ref": "#/s/Thing"}, "state", {"port": 2222, "state": "running"}),
        ({"type": "object"}, "", {}),
    ],
)
def test_examples(schema: dict[str, Any], name: str, example: Any) -> None:
    assert of_schema(schema, SCHEMAS, name) == example


def test_an_end_to_what_contains_itself() -> None:
    assert of_schema({"$ref": "#/s/Chain"}, SCHEMAS) == {"more": [{"more": [{"more": []}]}]}


def test_keys_in_paths_are_names_of_the_examples() -> None:
    found = [
        of_parameter(path, name)
        for path, name in (
            ("/api/v1/items/tunnels/{key}", "key"),
            ("/api/v1/servers/{name}/push", "name"),
            ("/api/v1/users/{name}", "name"),
            ("/api/v1/items/rules", "unheard_of"),
        )
    ]
    assert [word and word.example for word in found] == ["lan", "usp-server", WORDS["name"].example, None]
