"""Secret: a string that shows itself to nobody by accident.

A field of a model is either of type `Secret` or public; there is no third way. `repr`, `str`, JSON and logs of a
Secret read `***`. The value comes out only through `reveal()`, or through `model_dump(context=REVEAL)` when a snapshot
travels over mutual TLS or an item is handed to the vault.
"""

from __future__ import annotations

import hmac
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

REDACTED: Final = "***"
REVEAL: Final[dict[str, bool]] = {"reveal": True}


class Secret:
    """A non-empty secret text. Compared in constant time, never printed, never pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it where it is used, never earlier, and never keep the result."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from_text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True, min_length=1))
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.no_info_wrap_validator_function(_as_it_is, from_text),
            serialization=core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "minLength": 1, "writeOnly": True, "format": "password"}


def _as_it_is(value: Any, from_text: core_schema.ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, Secret) else from_text(value)


def _serialize(value: Secret, info: core_schema.SerializationInfo) -> str:
    context = info.context
    if isinstance(context, dict) and context.get("reveal"):
        return value.reveal()
    return REDACTED
