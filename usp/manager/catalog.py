"""The catalog: all items at one revision, and what a set of changes would make of it.

`apply` is the only way in which configuration changes. It is pure: it checks everything that can be checked without
touching the world and answers a `Delta` that the store writes all or nothing. In this order:

1. each change by itself: the fields fit the model, the item's own rules hold, its keys can be parsed;
2. names are unique and references resolve, in the catalog as it will be (so changes may refer to each other);
3. the rules between items (`usp.manager.rules`), and nothing that is deleted is still referred to.

Problems are collected within a step; a later step only makes sense when the one before found none. A problem's `loc`
begins with the `loc` of the change that is to blame; where an untouched item is to blame, with (kind, name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import orjson
from pydantic import ValidationError

from usp.errors import Problem, UspError
from usp.manager.kinds import Reference, model_of, references, secrets, targets
from usp.manager.rules import Broken, broken_rules
from usp.model import KINDS, Item, Record
from usp.secret import REDACTED
from usp.snapshot import Content, RepositorySpec
from usp.wording import problems_of

Loc = tuple[str | int, ...]
Facts = Callable[[Item], Mapping[str, str | int]]
"""Reads out of an item's keys and certificates what people want to see; raises UspError `key.unusable`."""


@dataclass(frozen=True)
class Catalog:
    """All records (by id) at one revision. Never changes; `after` makes the next one."""

    revision: int
    records: Mapping[str, Record]

    @cached_property
    def _names(self) -> Mapping[tuple[str, str], Record]:
        return {(record.kind, record.item.name): record for record in self.records.values()}

    @cached_property
    def _kinds(self) -> Mapping[str, tuple[Record, ...]]:
        kinds: dict[str, list[Record]] = {kind: [] for kind in KINDS}
        for record in self.records.values():
            kinds[record.kind].append(record)
        return {kind: tuple(sorted(found, key=lambda record: record.item.name)) for kind, found in kinds.items()}

    @cached_property
    def _referrers(self) -> Mapping[str, Sequence[tuple[Record, str]]]:
        found: dict[str, list[tuple[Record, str]]] = {}
        for record in self.records.values():
            for reference, _, id in targets(record.item):
                found.setdefault(id, []).append((record, reference.field))
        return found

    @cached_property
    def repositories(self) -> dict[str, tuple[RepositorySpec, tuple[Problem, ...]]]:
        """Account Repositories as `usp.manager.compile` made them, by id, and what is wrong with them. They are the
        same for every server, so they are made once at each revision."""
        return {}

    @cached_property
    def contents(self) -> dict[str, Content]:
        """What `usp.manager.compile` made of this revision for servers, by their names: to be pushed as it is, instead
        of being read from the store and parsed again."""
        return {}

    def find(self, kind: str, key: str) -> Record | None:
        """The record with that id or name; an id wins."""
        record = self.records.get(key)
        if record is not None and record.kind == kind:
            return record
        return self._names.get((kind, key))

    def get(self, kind: str, key: str) -> Record:
        """`find`, or UspError `kind.unknown` or `item.not_found`."""
        title = model_of(kind).title
        record = self.find(kind, key)
        if record is None:
            raise UspError("item.not_found", f"there is no {title} '{key}'", item_kind=kind, key=key)
        return record

    def of_kind(self, kind: str) -> tuple[Record, ...]:
        """All records of a kind, by name."""
        model_of(kind)
        return self._kinds[kind]

    def referrers(self, id: str) -> Sequence[tuple[Record, str]]:
        """Who refers to that item, and in which field."""
        return self._referrers.get(id, ())

    def after(self, delta: Delta) -> Catalog:
        """The catalog once `delta` is written."""
        gone = {record.id for record in delta.deletes}
        records = {id: record for id, record in self.records.items() if id not in gone}
        records.update((record.id, record) for record in delta.puts)
        return Catalog(delta.revision, records)


EMPTY: Final = Catalog(0, MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Create:
    """A new item. `fields`: a JSON object, or its text; references by id or name. `loc` leads its problems."""

    kind: str
    fields: Mapping[str, Any] | bytes = field(repr=False)
    loc: Loc = ()


@dataclass(frozen=True, slots=True)
class Update:
    """New fields for the item `key` (id or name), all of them. Left out, null and `***` keep a stored secret; an empty
    text removes an optional one. With `expected_revision` the item must still have that revision."""

    kind: str
    key: str
    fields: Mapping[str, Any] | bytes = field(repr=False)
    expected_revision: int | None = None
    loc: Loc = ()


@dataclass(frozen=True, slots=True)
class Delete:
    kind: str
    key: str
    expected_revision: int | None = None
    loc: Loc = ()


Change = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Delta:
    """What to write: the catalog goes from revision `base` to `revision`. Items that would not change are not in it;
    without any change `revision` equals `base` and there is nothing to write. `before`: the updated ones as they were.
    """

    base: int
    revision: int
    creates: tuple[Record, ...] = ()
    updates: tuple[Record, ...] = ()
    deletes: tuple[Record, ...] = ()
    before: Mapping[str, Record] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def puts(self) -> tuple[Record, ...]:
        return self.creates + self.updates

    def __bool__(self) -> bool:
        return self.revision != self.base


SEVERITY: Final = ("item.not_found", "item.stale", "item.invalid", "item.name_taken", "item.referenced")
"""When several things are wrong, the error's code is the first of these; the problems tell all."""


class _Findings:
    """What is wrong, collected within a step."""

    def __init__(self) -> None:
        self._found: list[tuple[str, Problem]] = []

    def add(self, code: str, loc: Loc, msg: str) -> None:
        self._found.append((code, Problem(loc, msg)))

    def extend(self, prefix: Loc, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add("item.invalid", (*prefix, *problem.loc), problem.msg)

    def refuse(self) -> None:
        if self._found:
            code = min((code for code, _ in self._found), key=SEVERITY.index)
            raise UspError(code, problems=[problem for _, problem in self._found])


@dataclass(frozen=True, slots=True)
class _Draft:
    """A create or update on its way: `item` fits its model, its references are still as they were written."""

    loc: Loc
    id: str
    item: Item
    facts: Mapping[str, str | int]
    old: Record | None


def no_facts(item: Item) -> Mapping[str, str | int]:
    return {}


def apply(
    catalog: Catalog,
    changes: Sequence[Change],
    *,
    now: datetime,
    new_id: Callable[[], str],
    facts: Facts = no_facts,
) -> Delta:
    """What `changes` would write, all or nothing; UspError `item.*` with located problems if they cannot be made."""
    findings = _Findings()
    drafts, deleted = _read(catalog, changes, new_id, facts, findings)
    findings.refuse()
    resolved = _resolve(catalog, drafts, {record.id for record, _ in deleted}, findings)
    findings.refuse()
    delta = _delta(catalog, resolved, [record for record, _ in deleted], now)
    after = catalog.after(delta)
    locs = {draft.id: draft.loc for draft in drafts}
    for record, loc in deleted:
        _check_unreferenced(after, record, loc, findings)
    findings.refuse()
    touched = {record.kind for record in delta.puts}
    for broken in broken_rules(after, touched):
        findings.add("item.invalid", _blame(broken, locs), broken.msg)
    findings.refuse()
    return delta


# Step 1: each change by itself


def _read(
    catalog: Catalog, changes: Sequence[Change], new_id: Callable[[], str], facts: Facts, findings: _Findings
) -> tuple[list[_Draft], list[tuple[Record, Loc]]]:
    drafts: list[_Draft] = []
    deleted: list[tuple[Record, Loc]] = []
    seen: set[str] = set()
    for change in changes:
        old = None
        if not isinstance(change, Create):
            old = _current(catalog, change, seen, findings)
            if old is None:
                continue
        if isinstance(change, Delete):
            assert old is not None
            deleted.append((old, change.loc))
            continue
        item = _parse(change, old, findings)
        if item is not None:
            known = _facts(item, old, change.loc, facts, findings)
            drafts.append(_Draft(change.loc, old.id if old else new_id(), item, known, old))
    return drafts, deleted


def _current(catalog: Catalog, change: Update | Delete, seen: set[str], findings: _Findings) -> Record | None:
    title = model_of(change.kind).title
    record = catalog.find(change.kind, change.key)
    if record is None:
        findings.add("item.not_found", change.loc, f"there is no {title} '{change.key}'")
        return None
    if record.id in seen:
        findings.add("item.invalid", change.loc, f"{title} '{record.item.name}' is changed twice")
        return None
    seen.add(record.id)
    if change.expected_revision not in (None, record.revision):
        msg = f"it has revision {record.revision}, not {change.expected_revision}: read it again"
        findings.add("item.stale", change.loc, msg)
        return None
    return record


def _parse(change: Create | Update, old: Record | None, findings: _Findings) -> Item | None:
    model = model_of(change.kind)
    fields = _document(change, findings)
    if fields is None:
        return None
    for name, required in secrets(model).items():
        _keep_secret(fields, name, required, old)
        if fields.get(name) == REDACTED:
            findings.add("item.invalid", (*change.loc, name), "give the secret itself: none is stored yet")
            return None
    try:
        item = model.model_validate_json(orjson.dumps(fields))
    except orjson.JSONEncodeError:
        findings.add("item.invalid", change.loc, "is nested too deeply")
        return None
    except ValidationError as error:
        findings.extend(change.loc, problems_of(error))
        return None
    problems = list(item.problems())
    findings.extend(change.loc, problems)
    return None if problems else item


def _document(change: Create | Update, findings: _Findings) -> dict[str, Any] | None:
    fields: Any = change.fields
    if isinstance(fields, bytes):
        try:
            fields = orjson.loads(fields)
        except orjson.JSONDecodeError as error:
            findings.add("item.invalid", change.loc, f"is not JSON: {error}")
            return None
    if not isinstance(fields, Mapping):
        findings.add("item.invalid", change.loc, "must be a JSON object of the item's fields")
        return None
    return dict(fields)


def _keep_secret(fields: dict[str, Any], name: str, required: bool, old: Record | None) -> None:
    """Secrets are write-only: who sends an item back as it was read does not know them, and means to keep them."""
    given = fields.get(name)
    stored = getattr(old.item, name) if old is not None else None
    if given == "" and not required:
        fields[name] = None
    elif stored is not None and given in (None, REDACTED):
        fields[name] = stored.reveal()
    elif given is None and required:
        fields.pop(name, None)  # so that the finding reads "is required"


def _facts(item: Item, old: Record | None, loc: Loc, facts: Facts, findings: _Findings) -> Mapping[str, str | int]:
    if old is not None and old.item == item:
        return old.facts
    try:
        return facts(item)
    except UspError as error:
        findings.extend(loc, error.problems or [Problem((), error.message)])
        return {}


# Step 2: names and references, in the catalog as it will be


def _resolve(catalog: Catalog, drafts: list[_Draft], deleted: set[str], findings: _Findings) -> list[_Draft]:
    changed = {draft.id for draft in drafts} | deleted
    names = {key: record.id for key, record in catalog._names.items() if record.id not in changed}
    kinds = {id: record.kind for id, record in catalog.records.items() if id not in deleted}
    kinds.update((draft.id, draft.item.kind) for draft in drafts)
    for draft in drafts:
        name = draft.item.name
        title = draft.item.title
        if (draft.item.kind, name) in names:
            findings.add("item.name_taken", (*draft.loc, "name"), f"another {title} is called '{name}'")
        elif name in kinds and name != draft.id:
            findings.add("item.name_taken", (*draft.loc, "name"), f"'{name}' is the id of another item")
        names[draft.item.kind, name] = draft.id
    return [_resolve_one(draft, names, kinds, findings) for draft in drafts]


def _resolve_one(
    draft: _Draft, names: Mapping[tuple[str, str], str], kinds: Mapping[str, str], findings: _Findings
) -> _Draft:
    found: dict[str, list[str]] = {}
    for reference, place, key in targets(draft.item):
        where: Loc = (*draft.loc, reference.field) if place is None else (*draft.loc, reference.field, place)
        id = key if kinds.get(key) == reference.kind else names.get((reference.kind, key))
        if id is None:
            findings.add("item.invalid", where, _missing(reference, key, kinds))
        elif id in found.setdefault(reference.field, []):
            findings.add("item.invalid", where, f"'{key}' is there twice")
        else:
            found[reference.field].append(id)
    ids = {
        reference.field: tuple(found[reference.field]) if reference.many else found[reference.field][0]
        for reference in references(type(draft.item))
        if found.get(reference.field)
    }
    return _Draft(draft.loc, draft.id, draft.item.model_copy(update=ids), draft.facts, draft.old)


def _missing(reference: Reference, key: str, kinds: Mapping[str, str]) -> str:
    if key in kinds:
        return f"must be one of the {reference.kind}; this is one of the {kinds[key]}"
    return f"there is no {KINDS[reference.kind].title} '{key}'"


# Step 3: the whole


def _delta(catalog: Catalog, drafts: list[_Draft], deletes: list[Record], now: datetime) -> Delta:
    creates: list[Record] = []
    updates: list[Record] = []
    revision = catalog.revision + 1
    for draft in drafts:
        if draft.old is not None and draft.old.item == draft.item:
            continue
        record = Record(
            kind=draft.item.kind,
            id=draft.id,
            revision=revision,
            created_at=draft.old.created_at if draft.old else now,
            updated_at=now,
            item=draft.item,
            facts=draft.facts,
        )
        (updates if draft.old else creates).append(record)
    if not (creates or updates or deletes):
        revision = catalog.revision
    before = {record.id: catalog.records[record.id] for record in updates}
    return Delta(catalog.revision, revision, tuple(creates), tuple(updates), tuple(deletes), before)


def _check_unreferenced(after: Catalog, record: Record, loc: Loc, findings: _Findings) -> None:
    for by, name in after.referrers(record.id):
        msg = f"{by.item.title} '{by.item.name}' refers to {record.item.title} '{record.item.name}' (its {name})"
        findings.add("item.referenced", loc, msg)


def _blame(broken: Broken, locs: Mapping[str, Loc]) -> Loc:
    """Where the reader should look: the first culprit among the changes, else the first of all."""
    for record, field_ in broken.culprits:
        if record.id in locs:
            return (*locs[record.id], field_)
    record, field_ = broken.culprits[0]
    return (record.kind, record.item.name, field_)


def changes_of(delta: Delta) -> Iterator[tuple[str, Record]]:
    """("create" | "update" | "delete", record), for history, audit and a plan's listing."""
    for word, records in (("create", delta.creates), ("update", delta.updates), ("delete", delta.deletes)):
        for record in records:
            yield word, record
