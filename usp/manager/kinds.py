"""What the models say about their fields: which ones refer to other items, which ones are secret.

Found by walking the annotations of a model, once per kind. Everything that treats all kinds alike (references, sealing,
history, forms) is driven by these two questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args

from usp.errors import UspError
from usp.model import KINDS, CaCertificate, Item, PrivateKey, Record, Ref, TlsCertificate
from usp.secret import Secret

ENVELOPE: Final = frozenset(Record.model_fields) - {"item"}
"""What is around an item's own fields where it is shown."""

GENERATE: Final = "generate"
MADE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        PrivateKey.kind: ("private_key",),
        CaCertificate.kind: ("certificate", "private_key"),
        TlsCertificate.kind: ("certificate", "private_key"),
    }
)
"""Kinds that are made on request, with `generate` -> the fields that come of it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that holds the id of an item of `kind`, or with `many` a tuple of ids."""

    field: str
    kind: str
    many: bool


def model_of(kind: str) -> type[Item]:
    """The model of a kind, which may come from a URL."""
    model = KINDS.get(kind)
    if model is None:
        raise UspError("kind.unknown", f"there is no kind of item called '{kind}'", kind=kind)
    return model


Kind = TypeVar("Kind", bound=Item)


def item_of(model: type[Kind], record: Record) -> Kind:
    """The record's item, known to be of that kind."""
    assert isinstance(record.item, model), f"{record.kind} is not {model.kind}"
    return record.item


@cache
def references(model: type[Item]) -> tuple[Reference, ...]:
    """The reference fields of a model, in the order of definition."""
    return tuple(_references(model))


def _references(model: type[Item]) -> Iterator[Reference]:
    for name, info in model.model_fields.items():
        marks = [*info.metadata, *_marks(info.annotation)]
        for mark in marks:
            if isinstance(mark, Ref):
                assert mark.kind in KINDS, f"{model.kind}.{name} refers to unknown kind {mark.kind}"
                yield Reference(name, mark.kind, "tuple[" in str(info.annotation))


def _marks(annotation: Any) -> Iterator[Any]:
    """The marks in `Annotated[...]`, however deep: `Annotated[str, Ref] | None`, `tuple[Annotated[str, Ref], ...]`."""
    yield from getattr(annotation, "__metadata__", ())
    for inner in get_args(annotation):
        yield from _marks(inner)


@cache
def secrets(model: type[Item]) -> Mapping[str, bool]:
    """The secret fields of a model -> whether they are required."""
    found = {}
    for name, info in model.model_fields.items():
        if info.annotation is Secret or Secret in get_args(info.annotation):
            found[name] = info.is_required()
    return MappingProxyType(found)


def targets(item: Item) -> Iterator[tuple[Reference, int | None, str]]:
    """Every reference that `item` holds: the field, the place in it (None for a single one), what it says."""
    for reference in references(type(item)):
        value = getattr(item, reference.field)
        if reference.many:
            for place, key in enumerate(value):
                yield reference, place, key
        elif value is not None:
            yield reference, None, value
