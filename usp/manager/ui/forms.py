"""Forms: an item's document as the entries of a form, and a form that was sent as a document for the catalog.

Names in a form are ways into the document: `policy.paths.0.path`. What is not in a form that was sent (because it was
hidden) is not in the document either, and gets the model's default. Numbers that are none, and words that do not fit,
go to the catalog as they are: there is one place that says what is wrong. Its findings come back to the entries.

* CHECK and CHECKS send an empty mark beside their boxes, so that "none of them" differs from "not there".
* An optional block has a box of its own name, which says whether there is one.
* A secret is never in a form. Empty, it stays; a box `NAME.remove` takes it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from usp.errors import Problem
from usp.manager.ui.fields import Field, Widget

ON: Final = "on"
REMOVE: Final = "remove"
DIGITS: Final = 19
"""What is longer is no number that an item could have."""

Sent = Mapping[str, Sequence[str]]
"""A form that was sent: name -> values."""
Document = dict[str, Any]
Way = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A field with its value, as it is shown. `within`: of a BLOCK; `rows`: of BLOCKS; `blank`: one to be filled in."""

    field: Field
    way: Way
    value: Any
    problems: tuple[Problem, ...] = ()
    within: tuple[Entry, ...] = ()
    rows: tuple[tuple[Entry, ...], ...] = ()
    blank: tuple[Entry, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(map(str, self.way))

    @property
    def id(self) -> str:
        return "-".join(("field", *map(str, self.way)))

    @property
    def messages(self) -> tuple[str, ...]:
        """What is wrong here, with the place in a list as people count."""
        return tuple(map(self._message, self.problems))

    def _message(self, problem: Problem) -> str:
        place = next((part for part in problem.loc[len(self.way) :] if isinstance(part, int)), None)
        return problem.msg if place is None else f"{place + 1}: {problem.msg}"


BLANK_ROW: Final = "NEW"
"""Stands for the number of a row that is not there yet."""


def entries(
    fields: Sequence[Field], document: Mapping[str, Any], problems: Sequence[Problem] = (), way: Way = ()
) -> tuple[Entry, ...]:
    """The entries of a form. What the document lacks has its default."""
    return tuple(_entry(each, document.get(each.name, each.default), problems, (*way, each.name)) for each in fields)


def _entry(field: Field, value: Any, problems: Sequence[Problem], way: Way) -> Entry:
    here = [each for each in problems if each.loc[: len(way)] == way]
    if field.widget is Widget.BLOCK:
        within = entries(field.fields, value if isinstance(value, Mapping) else {}, problems, way)
        return Entry(field, way, value, tuple(each for each in here if each.loc == way), within=within)
    if field.widget is Widget.BLOCKS:
        rows = tuple(entries(field.fields, row, problems, (*way, place)) for place, row in enumerate(value or ()))
        blank = entries(field.fields, {}, (), (*way, BLANK_ROW))
        of_rows = tuple(each for each in here if len(each.loc) <= len(way) + 1)
        return Entry(field, way, value, of_rows, rows=rows, blank=blank)
    return Entry(field, way, value, tuple(here))


def unplaced(shown: Sequence[Entry], problems: Sequence[Problem]) -> tuple[str, ...]:
    """The findings that no entry tells: they are told above the form, with their way."""
    told = {id(problem) for entry in _all(shown) for problem in entry.problems}
    rest = [problem for problem in problems if id(problem) not in told]
    return tuple(f"{'.'.join(map(str, each.loc))}: {each.msg}" if each.loc else each.msg for each in rest)


def _all(shown: Sequence[Entry]) -> Iterator[Entry]:
    for entry in shown:
        yield entry
        for inner in (entry.within, *entry.rows):
            yield from _all(inner)


# --- what a browser sends ---


def sent_by(shown: Sequence[Entry]) -> dict[str, list[str]]:
    """What a browser sends of these entries when nobody touches them."""
    sent: dict[str, list[str]] = {}
    for entry in shown:
        sent.update(_sent(entry))
    return sent


def _sent(entry: Entry) -> Iterator[tuple[str, list[str]]]:
    value = entry.value
    match entry.field.widget:
        case Widget.BLOCK:
            if entry.field.optional:
                yield entry.name, ["", *([ON] if entry.value is not None else [])]
            if entry.value is not None:
                yield from sent_by(entry.within).items()
        case Widget.BLOCKS:
            for row in entry.rows:
                yield from sent_by(row).items()
        case Widget.CHECK:
            yield entry.name, ["", *([ON] if value else [])]
        case Widget.CHECKS:
            yield entry.name, ["", *(value or ())]
        case Widget.PICKS:
            yield entry.name, [*(value or ()), ""]
        case Widget.LINES:
            yield entry.name, ["\r\n".join(value or ())]
        case Widget.SECRET:
            yield entry.name, [""]
        case Widget.AREA:
            yield entry.name, [(value or "").replace("\n", "\r\n")]
        case _:
            yield entry.name, ["" if value is None else str(value)]


def document_of(fields: Sequence[Field], sent: Sent) -> Document:
    """The document that a form says."""
    return _document(fields, sent, "")


def _document(fields: Sequence[Field], sent: Sent, prefix: str) -> Document:
    found: Document = {}
    for each in fields:
        name = f"{prefix}{each.name}"
        if each.widget is Widget.BLOCK:
            if _is_there(each, name, sent):
                found[each.name] = _document(each.fields, sent, f"{name}.")
        elif each.widget is Widget.BLOCKS:
            found[each.name] = list(_rows(each, name, sent))
        elif sent.get(name):
            value = "" if ON in sent.get(f"{name}.{REMOVE}", ()) else _value(each, sent[name])
            if value != "" or not each.required:
                found[each.name] = value
    return found


def _is_there(field: Field, name: str, sent: Sent) -> bool:
    if field.optional:
        return ON in sent.get(name, ())
    return any(key.startswith(f"{name}.") for key in sent)


def _rows(field: Field, name: str, sent: Sent) -> Iterator[Document]:
    """The rows in the order of their numbers. One of which nothing that is needed was filled in is none."""
    prefix = f"{name}."
    places = {key[len(prefix) :].partition(".")[0] for key in sent if key.startswith(prefix)}
    texts = [each.name for each in field.fields if each.required and each.widget is not Widget.SELECT]
    for place in sorted((place for place in places if place.isdecimal() and len(place) < DIGITS), key=int):
        row = _document(field.fields, sent, f"{prefix}{place}.")
        if not texts or any(text in row for text in texts):
            yield row


def _value(field: Field, values: Sequence[str]) -> Any:
    """`values`: as they were sent, one at least. An empty text is none where there may be none."""
    last = values[-1].replace("\r\n", "\n")
    match field.widget:
        case Widget.CHECK:
            return ON in values
        case Widget.CHECKS | Widget.PICKS:
            return [value for value in values if value]
        case Widget.LINES:
            return [line.strip() for line in last.split("\n") if line.strip()]
        case Widget.NUMBER:
            return _number(last.strip(), field)
        case Widget.SECRET:
            return last or None
        case Widget.PICK | Widget.SELECT:
            return last.strip() or (None if field.optional else "")
        case _:
            return last or (None if field.optional else "")


def _number(text: str, field: Field) -> Any:
    if not text:
        return None if field.optional else field.default if field.default is not None else ""
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and digits.isascii() and len(digits) <= DIGITS else text


def unkept(fields: Sequence[Field], document: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of fields that a form would change without being touched, such as a name with a line end in it: who
    edits the item is told."""
    shown = entries(fields, document)
    again = document_of(fields, sent_by(shown))
    return tuple(each.field.label for each in shown if again.get(each.field.name, each.field.default) != each.value)
