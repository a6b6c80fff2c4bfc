"""Sets: configuration as code. What `export` gives, what `apply` takes, and the plan between a set and the catalog.

A set is `{kind: [fields, ...]}`: items by name, references by name, in a stable order, without what the manager adds.
Fields that are as by default are left out. A secret is `***` ("as it is stored"), or sealed (usp.manager.sealing), or
empty where an optional one is not set. All of it is pure; passphrases become keys elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Change, Create, Delete, Delta, Loc, Update, changes_of
from usp.manager.kinds import ENVELOPE, GENERATE, MADE, references, secrets
from usp.manager.sealing import SALT_BYTES, Seal, is_sealed, salt_of
from usp.model import KINDS, Item, Record
from usp.secret import REDACTED, Secret

ITEMS: Final = "items"
PRUNE: Final = "prune"
MAX_SALTS: Final = 4
"""Keys that one set may need: each takes a while to make."""

Document = dict[str, Any]
Show = Callable[[Record, str, Secret], str]


# From the catalog to a set


def redacted(record: Record, name: str, secret: Secret) -> str:
    return REDACTED


def sealed_by(seal: Seal) -> Show:
    return lambda record, name, secret: seal.close(secret, place(record.kind, record.item.name, name))


def documents(catalog: Catalog, show: Show = redacted) -> dict[str, list[Document]]:
    """Every item, kinds in the order of the model, items by name. `show` says what stands for a secret."""
    found = {kind: [_document(catalog, record, show) for record in catalog.of_kind(kind)] for kind in KINDS}
    return {kind: items for kind, items in found.items() if items}


def _document(catalog: Catalog, record: Record, show: Show) -> Document:
    item, model = record.item, type(record.item)
    fields = item.model_dump(mode="json", exclude_defaults=True, exclude=set(secrets(model)))
    for reference in references(model):
        ids = fields.get(reference.field)
        if isinstance(ids, list):
            fields[reference.field] = [catalog.records[id].item.name for id in ids]
        elif ids is not None:
            fields[reference.field] = catalog.records[ids].item.name
    for name in secrets(model):
        secret = getattr(item, name)
        fields[name] = show(record, name, secret) if secret is not None else ""
    return fields


def salt_for(catalog: Catalog) -> bytes:
    """What sets the seals of this configuration apart from others': its keys, which are random, by their public parts.
    So equal configurations are exported equally, and most changes leave other items' seals as they are."""
    prints = sorted(str(record.facts.get("fingerprint", "")) for record in catalog.records.values())
    return hashlib.sha256("\n".join(("usp export", *filter(None, prints))).encode()).digest()[:SALT_BYTES]


def place(kind: str, name: str, secret: str) -> str:
    """Names are free of slashes."""
    return f"{kind}/{name}/{secret}"


# From a set to changes


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item of a set. `loc`: where it stands there."""

    kind: str
    fields: Mapping[str, Any] = field(repr=False)
    loc: Loc = ()

    @property
    def name(self) -> str:
        return str(self.fields.get("name", ""))


def wanted(body: object) -> list[Wanted]:
    """The items of `{"items": {kind: [...]}}`, or of `{"items": [{"kind": kind, ...}]}`; UspError request.invalid."""
    found: list[Wanted] = []
    problems: list[Problem] = []
    names: dict[tuple[str, str], Loc] = {}
    for kind, fields, loc in _entries(body):
        if kind not in KINDS:
            problems.append(Problem(loc[:2], f"there is no kind of item called '{kind}'"))
        elif not isinstance(fields, Mapping):
            problems.append(Problem(loc, "must be an object of the item's fields"))
        else:
            item = Wanted(kind, {name: value for name, value in fields.items() if name not in ENVELOPE}, loc)
            if item.name and names.setdefault((kind, item.name), loc) is not loc:
                problems.append(Problem((*loc, "name"), f"'{item.name}' is in this set twice"))
            found.append(item)
    if problems:
        raise UspError("request.invalid", "this is not a set of items", problems=list(dict.fromkeys(problems)))
    return found


def _entries(body: object) -> Iterator[tuple[str, Any, Loc]]:
    items = body.get(ITEMS) if isinstance(body, Mapping) else None
    if isinstance(items, Mapping):
        for kind, entries in items.items():
            if not isinstance(entries, list):
                raise _malformed((ITEMS, str(kind)), "must be a list of items")
            for index, fields in enumerate(entries):
                yield str(kind), fields, (ITEMS, str(kind), index)
    elif isinstance(items, list):
        for index, fields in enumerate(items):
            kind = fields.get("kind", "") if isinstance(fields, Mapping) else ""
            yield str(kind), fields, (ITEMS, index)
    else:
        raise _malformed((ITEMS,), "must be an object of lists by kind, or a list of items that have a kind")


def _malformed(loc: Loc, msg: str) -> UspError:
    return UspError("request.invalid", "this is not a set of items", problems=[Problem(loc, msg)])


def salts(items: Iterable[Wanted]) -> set[bytes]:
    """Those of all sealed secrets in the set; UspError request.invalid when there are too many."""
    found = {salt for item in items for _, text in _sealed(item) if (salt := salt_of(text)) is not None}
    if len(found) > MAX_SALTS:
        raise _malformed((ITEMS,), f"comes from more than {MAX_SALTS} exports: their secrets cannot be opened at once")
    return found


def opened(items: Sequence[Wanted], seals: Mapping[bytes, Seal] | None) -> list[Wanted]:
    """With the sealed secrets in clear. `seals`: salt -> key; None: no passphrase was given."""
    problems: list[Problem] = []
    clear = [_opened(item, seals, problems) for item in items]
    if problems:
        raise UspError("item.invalid", problems=problems)
    return clear


def _opened(item: Wanted, seals: Mapping[bytes, Seal] | None, problems: list[Problem]) -> Wanted:
    fields = dict(item.fields)
    for name, text in _sealed(item):
        if seals is None:
            problems.append(Problem((*item.loc, name), "is sealed: give the passphrase of the export"))
            continue
        seal = seals.get(salt_of(text) or b"")
        secret = seal.open(text, place(item.kind, item.name, name)) if seal else None
        if secret is None:
            msg = "does not open: another passphrase, or it was sealed for an item of another name"
            problems.append(Problem((*item.loc, name), msg))
            continue
        fields[name] = secret.reveal()
    return Wanted(item.kind, fields, item.loc)


def _sealed(item: Wanted) -> Iterator[tuple[str, str]]:
    for name in secrets(KINDS[item.kind]):
        if is_sealed(text := item.fields.get(name)):
            yield name, str(text)


def changes(catalog: Catalog, items: Sequence[Wanted], *, prune: bool = False) -> list[Change]:
    """What makes the catalog hold these items; with `prune` no others. Unknown names are new items."""
    if prune and not items:
        raise _malformed((ITEMS,), "is empty, and with prune that would delete everything")
    found = [_change(catalog, item) for item in items]
    if not prune:
        return found
    kept = {(item.kind, item.name) for item in items}
    gone = [record for record in catalog.records.values() if (record.kind, record.item.name) not in kept]
    gone.sort(key=lambda record: (record.kind, record.item.name))
    return found + [Delete(each.kind, each.id, loc=(PRUNE, each.kind, each.item.name)) for each in gone]


def _change(catalog: Catalog, item: Wanted) -> Change:
    record = catalog.find(item.kind, item.name)
    if record is None or record.item.name != item.name:
        return Create(item.kind, item.fields, item.loc)
    return Update(item.kind, record.id, _as_made(record.item, item.fields), loc=item.loc)


def _as_made(item: Item, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was generated once is not generated again: applying the same set twice changes nothing."""
    made = MADE.get(item.kind, ())
    if GENERATE not in fields or not made:
        return fields
    rest = {name: value for name, value in fields.items() if name != GENERATE}
    for name in made:
        if name not in secrets(type(item)):
            rest.setdefault(name, getattr(item, name))
    return rest


# The plan


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one item. `fields`: the public ones that change; `secrets`: field -> changed or unchanged."""

    action: str  # create, update, delete
    kind: str
    name: str
    fields: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set makes of the catalog: `revision` is the one that it looked at, or with `applied` the one it made."""

    applied: bool
    revision: int
    steps: tuple[Step, ...]
    unchanged: int


def plan(delta: Delta, items: Sequence[Wanted], *, applied: bool) -> Plan:
    steps = tuple(_step(action, delta.before.get(record.id), record) for action, record in changes_of(delta))
    unchanged = len(items) - len(delta.puts)
    return Plan(applied, delta.revision if applied else delta.base, steps, unchanged)


def _step(action: str, before: Record | None, record: Record) -> Step:
    if action == "delete":
        return Step(action, record.kind, record.item.name)
    model = type(record.item)
    old = before.item if before else None
    known = secrets(model)
    changed = [name for name in model.model_fields if _differs(old, record.item, name)]
    words = {
        name: "changed" if name in changed else "unchanged"
        for name in known
        if getattr(record.item, name) is not None or getattr(old, name, None) is not None
    }
    return Step(action, record.kind, record.item.name, tuple(name for name in changed if name not in known), words)


def _differs(old: Item | None, new: Item, name: str) -> bool:
    if old is None:
        return name in new.model_fields_set
    return bool(getattr(old, name) != getattr(new, name))
