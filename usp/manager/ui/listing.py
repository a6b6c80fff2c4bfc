"""Lists of items: which columns a kind has, and which of its items are shown, in which order. Pure.

Columns follow from the models: what is short and tells items apart. Keys and certificates show what was read out of
them, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from usp.manager.catalog import Catalog
from usp.manager.kinds import model_of
from usp.manager.ui.fields import Field, Widget, fields_of, label_of, word_of
from usp.model import CaCertificate, PrivateKey, PublicKey, Record, TlsCertificate

PAGE: Final = 100
SHORT: Final = frozenset({Widget.TEXT, Widget.NUMBER, Widget.SELECT, Widget.PICK, Widget.PICKS, Widget.LINES})
MOST: Final = 5
"""So many columns of a kind's own fields."""
NAMES: Final = 4
"""So many entries of a list are named."""

_KEY: Final = ("type", "fingerprint")
_CERTIFICATE: Final = ("subject", "not_after")
FACTS: Final[Mapping[str, Sequence[str]]] = {
    PrivateKey.kind: _KEY,
    PublicKey.kind: _KEY,
    CaCertificate.kind: _CERTIFICATE,
    TlsCertificate.kind: _CERTIFICATE,
}


@dataclass(frozen=True, slots=True)
class Link:
    """An item that a cell names."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What a column says of an item: a text, or items."""

    text: str
    links: tuple[Link, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    record: Record
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`q`: words that all occur; `state`: enabled, disabled or unused; `sort`: a column, from the end with `-`."""

    q: str = ""
    state: str = ""
    sort: str = "name"
    page: int = 1


@dataclass(frozen=True, slots=True)
class Listing:
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    found: int
    all: int
    page: int
    pages: int


@cache
def columns(kind: str) -> tuple[tuple[str, str], ...]:
    """(field or fact, label) beside name and state."""
    own = [each for each in fields_of(model_of(kind)) if each.widget in SHORT and each.name != "name"]
    needed = sorted(own, key=lambda each: not each.required)[:MOST]
    shown = [each for each in own if each in needed]
    return (
        *((each.name, each.label) for each in shown),
        *((f"facts.{fact}", label_of(fact)) for fact in FACTS.get(kind, ())),
    )


def listing(catalog: Catalog, kind: str, wanted: Wanted) -> Listing:
    records = catalog.of_kind(kind)
    found = [record for record in records if _fits(catalog, record, wanted)]
    column = wanted.sort.removeprefix("-")
    if column != "name":
        found.sort(key=lambda record: _order(catalog, record, column))
    if wanted.sort.startswith("-"):
        found.reverse()
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(1, wanted.page), pages)
    shown = found[(page - 1) * PAGE : page * PAGE]
    rows = tuple(Row(record, tuple(_cells(catalog, record))) for record in shown)
    return Listing(columns(kind), rows, len(found), len(records), page, pages)


def _fits(catalog: Catalog, record: Record, wanted: Wanted) -> bool:
    match wanted.state:
        case "enabled" if not record.item.enabled:
            return False
        case "disabled" if record.item.enabled:
            return False
        case "unused" if catalog.referrers(record.id):
            return False
    words = wanted.q.lower().split()
    if not words:
        return True
    text = " ".join([record.item.name, record.item.description, *_texts(catalog, record)]).lower()
    return all(word in text for word in words)


def _texts(catalog: Catalog, record: Record) -> Iterator[str]:
    for cell in _cells(catalog, record, most=10_000):
        yield cell.text
        yield from (link.name for link in cell.links)


def _order(catalog: Catalog, record: Record, column: str) -> tuple[bool, Any]:
    if column == "updated_at":
        return False, record.updated_at.isoformat()
    if column == "enabled":
        return False, str(not record.item.enabled)
    value = getattr(record.item, column, None)
    if isinstance(value, int):
        return False, f"{value + 10**9:020d}"
    cells = dict(zip((name for name, _ in columns(record.kind)), _cells(catalog, record), strict=True))
    cell = cells.get(column, Cell(""))
    text = cell.text or " ".join(link.name for link in cell.links)
    return text == "", text.lower()


def _cells(catalog: Catalog, record: Record, *, most: int = NAMES) -> Iterator[Cell]:
    known = {each.name: each for each in fields_of(type(record.item))}
    for name, _ in columns(record.kind):
        fact = name.removeprefix("facts.")
        if fact != name:
            text = str(record.facts.get(fact, ""))
            yield Cell(text[:10] if fact == "not_after" else text)
        else:
            yield _cell(catalog, known[name], getattr(record.item, name), most)


def _cell(catalog: Catalog, field: Field, value: Any, most: int) -> Cell:
    if field.kind:
        ids = [] if value is None else [value] if isinstance(value, str) else list(value)
        links = tuple(link(catalog, field.kind, id) for id in ids[:most])
        return Cell("", links, max(0, len(ids) - most))
    if isinstance(value, tuple):
        return Cell(", ".join(map(str, value[:most])), more=max(0, len(value) - most))
    if value is None:
        return Cell("")
    return Cell(word_of(str(value)) if field.widget is Widget.SELECT else str(value))


def link(catalog: Catalog, kind: str, id: str) -> Link:
    record = catalog.records.get(id)
    return Link(kind, id, record.item.name if record else id)
