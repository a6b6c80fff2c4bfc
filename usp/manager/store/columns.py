"""Column types that mean the same on every engine.

Oracle's traps are avoided here once: no BOOLEAN, no JSON type, no time zone in the column, and the empty text (which is
NULL there) is never stored: it comes and goes as NULL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, DateTime, Dialect, Integer, SmallInteger, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

BigInt = BigInteger().with_variant(Integer(), "sqlite")  # sqlite numbers rows by INTEGER only


class UtcTime(TypeDecorator[datetime]):
    """An aware time in Python, naive UTC with microseconds in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "oracle":
            from sqlalchemy.dialects.oracle import TIMESTAMP

            return TIMESTAMP()  # not through type_descriptor, which makes a DATE of it
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone"
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Flag(TypeDecorator[bool]):
    """True or false as 1 or 0."""

    impl = SmallInteger
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


class Words(TypeDecorator[str]):
    """A short text. '' is kept as NULL: so a column of words is nullable, or its words are never empty."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value or None

    def process_result_value(self, value: str | None, dialect: Dialect) -> str:
        return value or ""


class Json(TypeDecorator[Any]):
    """Any JSON value as text (CLOB on Oracle): written and read whole, never searched."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)
