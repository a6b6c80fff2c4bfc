"""What differs between two configurations of a server, in words, and what pushing one after the other will do. Pure.

Whatever has a name of its own in a snapshot is a *part*. Parts are found by walking the models, so a new field of a
snapshot shows by itself. A part that is used in several places (a Rule of two Inbound Nodes) is told once; where it is
used, it counts by its name. Secrets are compared and never told.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

from usp import plan as planning
from usp.model import Address, Model
from usp.plan import Endpoint, RunStates, Spec
from usp.policy import PathRule, Window
from usp.secret import REDACTED, Secret
from usp.snapshot import (
    AccountSpec,
    ClientSpec,
    Content,
    ListenerSpec,
    NodeSpec,
    RepositorySpec,
    RuleSpec,
    Snapshot,
    TargetSpec,
    TunnelSpec,
)

TITLES: Final[Mapping[type[Model], str]] = {
    ListenerSpec: "Listener",
    NodeSpec: "Inbound Node",
    RuleSpec: "Rule",
    TargetSpec: "Outbound Node",
    TunnelSpec: "Tunnel",
    ClientSpec: "Proxy Client",
    RepositorySpec: "Account Repository",
    AccountSpec: "Account",
}
"""The parts, in the order in which they are told."""

OWNED: Final = frozenset({"clients", "accounts"})
"""Fields whose parts belong to one part alone: told as parts, not as a field too."""

IDS: Final = frozenset({"tunnel", "repository"})
"""Fields that hold the id of another part."""

PUBLIC_KEY: Final = re.compile(r"[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+={0,2}")
"""The beginning of a public key's line (RFC 4253, 6.6: a blob begins with the length of a short text)."""

EMPTY: Final = Content()


class Change(StrEnum):
    """What became of a part."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field before and after, as JSON values; a secret that is there reads `***`."""

    field: str
    before: Any
    after: Any
    secret: bool = False

    def __str__(self) -> str:
        if self.secret:
            verb = "is set" if self.before is None else "is removed" if self.after is None else "changed"
            return f"{self.field} {verb}"
        if isinstance(self.before or [], list) and isinstance(self.after or [], list):
            return f"{self.field}: {_lists(self.before or [], self.after or [])}"
        return f"{self.field}: {_word(self.before)} -> {_word(self.after)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that is added, removed, or changed in `fields`. `owner`: the part that it belongs to, if any."""

    change: Change
    title: str
    name: str
    owner: str = ""
    fields: tuple[FieldChange, ...] = ()

    def __str__(self) -> str:
        what = f"{self.title} '{self.name}'" + (f" of '{self.owner}'" if self.owner else "")
        return f"{what} {self.change}" + "".join(f"; {field}" for field in self.fields)


@dataclass(frozen=True, slots=True)
class _Part:
    title: str
    name: str
    owner: str
    fields: Mapping[str, Any]


_Key = tuple[int, str, str]  # the title's place, the owner's id, the part's own id


def differences(old: Content, new: Content) -> tuple[Difference, ...]:
    """From `old` to `new`, listeners first, each sort by owner and name."""
    before, after = _Parts(old).found, _Parts(new).found
    return tuple(
        difference
        for key, part in sorted({**before, **after}.items(), key=lambda item: (item[0][0], item[1].owner, item[1].name))
        if (difference := _difference(part, before.get(key), after.get(key))) is not None
    )


def _difference(part: _Part, before: _Part | None, after: _Part | None) -> Difference | None:
    if before is None or after is None:
        change = Change.REMOVED if after is None else Change.ADDED
        return Difference(change, part.title, part.name, part.owner)
    names = dict.fromkeys([*after.fields, *before.fields])
    changes = tuple(
        _field_change(name, before.fields.get(name), after.fields.get(name))
        for name in names
        if not _same(name, before.fields, after.fields)
    )
    return Difference(Change.CHANGED, part.title, part.name, part.owner, changes) if changes else None


def _same(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """A field that one of them does not have (it is inside of one that was not given) is as good as an empty one."""
    old, new = before.get(name), after.get(name)
    if name in before and name in after:
        return bool(old == new)
    return all(value is None or value is False or value == () for value in (old, new))


def _field_change(name: str, before: Any, after: Any) -> FieldChange:
    if _is_secret(before) or _is_secret(after):
        return FieldChange(name, _redacted(before), _redacted(after), secret=True)
    return FieldChange(name, _plain(before), _plain(after))


def _redacted(value: Any) -> str | None:
    return None if value is None else REDACTED


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_secret(value: Any) -> bool:
    return isinstance(value, Secret) or (isinstance(value, tuple) and any(map(_is_secret, value)))


class _Parts:
    """All parts of a content, by key."""

    def __init__(self, content: Content) -> None:
        self.found: dict[_Key, _Part] = {}
        self._names = {spec.id: spec.name for spec in content.tunnels}
        self._names |= {spec.id: spec.name for spec in content.repositories}
        for spec in (*content.listeners, *content.tunnels, *content.repositories):
            self._add(spec)

    def _add(self, spec: Model, owner_id: str = "", owner: str = "") -> str:
        """Its name, by which others refer to it."""
        title = TITLES[type(spec)]
        name, id = _identity(spec)
        key = (list(TITLES).index(type(spec)), owner_id, id)
        if key not in self.found:
            fields: dict[str, Any] = {}
            for field in type(spec).model_fields:
                value = getattr(spec, field)
                if field in OWNED:
                    for part in value:
                        self._add(part, id, name)
                elif field != "id":
                    fields.update(self._values(field, value))
            self.found[key] = _Part(title, name, owner, fields)
        return name

    def _values(self, field: str, value: Any) -> Iterator[tuple[str, Any]]:
        """The field, or several of them where it has an inside: `path.tunnel`."""
        if type(value) in TITLES:
            yield field, self._add(value)
        elif isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                for name, found in self._values(inner, getattr(value, inner)):
                    yield f"{field}.{name}", found
        elif isinstance(value, tuple):
            yield field, tuple(self._one(each) for each in value)
        else:
            yield field, self._names.get(value, value) if field in IDS else value

    def _one(self, value: Any) -> Any:
        if type(value) in TITLES:
            return self._add(value)
        if isinstance(value, Address):
            return _address(value)
        return str(value) if isinstance(value, PathRule | Window) else value


def _identity(spec: Any) -> tuple[str, str]:
    """Its name and id. An Account has no id in a snapshot: its user name is its repository's only one."""
    return (spec.username, spec.username) if isinstance(spec, AccountSpec) else (spec.name, spec.id)


def _address(value: Address) -> str:
    return str(value) if value.weight == 1 else f"{value} (weight {value.weight})"


def _lists(before: Iterable[Any], after: Iterable[Any]) -> str:
    old, new = [_word(each) for each in before], [_word(each) for each in after]
    words = [f"with {each}" for each in new if each not in old] + [f"without {each}" for each in old if each not in new]
    return ", ".join(words) if words else f"in the order {', '.join(new)}"


def _word(value: Any) -> str:
    """A value in a sentence. A public key is told by its type and fingerprint."""
    if value is None or value == "":
        return "nothing"
    parts = str(value).split()
    if len(parts) > 1 and PUBLIC_KEY.fullmatch(f"{parts[0]} {parts[1]}") and len(parts[1]) % 4 == 0:
        fingerprint = base64.b64encode(hashlib.sha256(base64.b64decode(parts[1])).digest()).decode().rstrip("=")
        return f"{parts[0]} SHA256:{fingerprint}"
    return str(value)


# --- what a push will do ---


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a push would bring a server anything new. `problem`: why its configuration cannot be made."""

    changed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """An endpoint and the part that listens there."""

    address: str
    port: int
    title: str
    name: str


@dataclass(frozen=True, slots=True)
class Effects:
    """`sentences` tell all of it in words."""

    opened: tuple[Port, ...]
    closed: tuple[Port, ...]
    kept: tuple[Port, ...]
    sentences: tuple[str, ...]


def effects(old: Content, new: Content, run_states: RunStates) -> Effects:
    """What the server will do with its ports and links when it gets `new` in place of `old`."""
    there, then = Snapshot.of("there", 1, old), Snapshot.of("then", 1, new)
    before, after = planning.wanted(there, run_states), planning.wanted(then, run_states)
    plan = planning.plan(before.keys(), then, run_states)
    sentences = [
        *(f"Opens {where} for {_named(after[where])}." for where in sorted(plan.open)),
        *(_closing(where, before[where]) for where in sorted(plan.close)),
        *(_passing(where, before[where], after[where]) for where in sorted(plan.keep)),
        *(_silent(spec, run_states) for _, spec in planning.specs(then) if not planning.is_wanted(spec, run_states)),
        *_cut_links(there, then),
    ]
    return Effects(
        opened=tuple(_port(where, after[where]) for where in sorted(plan.open)),
        closed=tuple(_port(where, before[where]) for where in sorted(plan.close)),
        kept=tuple(_port(where, after[where]) for where in sorted(plan.keep)),
        sentences=(*sentences, "Live sessions keep the configuration that they began with."),
    )


def _port(where: Endpoint, spec: Spec) -> Port:
    return Port(where.address, where.port, TITLES[type(spec)], spec.name)


def _named(spec: Spec) -> str:
    return f"{TITLES[type(spec)]} '{spec.name}'"


def _closing(where: Endpoint, spec: Spec) -> str:
    tail = "no new link can come in" if isinstance(spec, TunnelSpec) else "nobody new can come in, its sessions go on"
    return f"Closes {where} of {_named(spec)}: {tail}."


def _passing(where: Endpoint, old: Spec, new: Spec) -> str:
    if old.id == new.id:
        return f"Keeps {where} of {_named(new)} open."
    return f"Keeps {where} open, which passes from {_named(old)} to {_named(new)}."


def _silent(spec: Spec, run_states: RunStates) -> str:
    return f"{_named(spec)} does not listen: {planning.why_not(spec, run_states)}."


def _cut_links(old: Snapshot, new: Snapshot) -> Iterator[str]:
    """Links that are closed: what goes through them ends (usp.server.tunnels)."""
    for tunnel in old.content.tunnels:
        now = new.tunnel(tunnel.id)
        if now is None:
            yield f"Closes the links of {_named(tunnel)}, and the sessions that go through them end."
        elif now.private_key != tunnel.private_key:
            yield f"{_named(now)} has another key: its links are closed and made anew, and sessions through them end."
        else:
            known = {(client.name, client.public_key) for client in now.clients}
            for client in tunnel.clients:
                if (client.name, client.public_key) not in known:
                    yield (
                        f"Proxy Client '{client.name}' of {_named(now)} is gone or has another key: "
                        "its links are closed, and sessions through them end."
                    )
