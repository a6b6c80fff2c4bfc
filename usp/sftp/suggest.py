"""Suggest: from lines of the audit log to the tightest policy that would have allowed what they tell.

Tried are policies from the tightest on: each directory with the classes that were used in it; with all that were used
anywhere (a rename needs as much on both sides); then with directories put together, from the deepest level upwards, as
a policy has few rules. The first that allows all of it is the answer. The last one has no path rules.

What the audit log does not tell is allowed: listing directories, asking for attributes and real paths, reading links.
An open to write may create and overwrite, as nearly all clients ask for that. What was denied is left out, and so is
what the target answered with "no such file" or "permission denied": it led to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from usp.policy import PRESETS, Access, OpClass, PathRule, Policy, Preset
from usp.sftp.ops import CLOSE, EXTENSIONS, OPEN, OPENDIR, OPS, READ, WRITE, Op, OpenFlag, Status
from usp.sftp.packets import Request
from usp.sftp.policy import Allow, Compiled, Context, needed

MAX_RULES: Final = 64
_OTHERS: Final = {
    "file." + op.name.partition("@")[0]: op
    for op in (*OPS.values(), *EXTENSIONS.values())
    if op not in (OPEN, OPENDIR, CLOSE, READ, WRITE)
}
_FLAGS: Final = {
    "r": OpenFlag.READ,
    "w": OpenFlag.WRITE | OpenFlag.CREAT | OpenFlag.TRUNC,
    "rw": OpenFlag.READ | OpenFlag.WRITE | OpenFlag.CREAT | OpenFlag.TRUNC,
    "": OpenFlag(0),
}
_IN_VAIN: Final = frozenset({int(Status.NO_SUCH_FILE), int(Status.PERMISSION_DENIED)})
_ASKING: Final = frozenset({OpClass.LIST, OpClass.READLINK, OpClass.STAT, OpClass.OTHER})
_ESCAPE: Final = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")
_ODD: Final = "\N{REPLACEMENT CHARACTER}"
"""Some character: what the log wrote as an escape may have been one or another."""


def suggest(events: Iterable[Mapping[str, Any]], present: Policy | None = None) -> tuple[Policy, int]:
    """`present` with other classes and path rules, and from how many events they are."""
    found = [request for event in events if (request := request_of(event))]
    requests = _samples(found)
    used = frozenset[OpClass]().union(*(classes for request in requests for _, classes in needed(request)))
    classes = used | _ASKING
    plain = Policy(**_classes(classes), ignore_case=bool(present and present.ignore_case))
    for paths in _path_rules(requests, classes):
        made = _with(plain, paths)
        if made is not None and _allows(made, requests):
            plain = made
            break
    kept = {"preset": plain.preset, "allow": plain.allow, "deny": plain.deny, "paths": plain.paths}
    return (present or Policy()).model_copy(update=kept), len(found)


def request_of(event: Mapping[str, Any]) -> Request | None:
    """What was asked; None: it is no matter of policies, or came to nothing."""
    name, outcome = event.get("event"), event.get("outcome")
    closed = name == "file.closed"  # of one that was opened, whatever became of it
    if outcome == "denied" or (outcome == "failed" and event.get("status") in _IN_VAIN and not closed):
        return None
    paths = tuple(_read(text) for field in ("path", "to") if isinstance(text := event.get(field), str))
    if (closed or name == "file.opened") and len(paths) == 1:
        pflags = _FLAGS.get(str(event.get("mode")), OpenFlag(0))
        return Request(OPEN, 0, (paths[0], pflags, bytes(4)), paths, pflags=pflags)
    op = _OTHERS.get(str(name))
    if op is None or len(paths) != _paths_of(op):
        return None
    return Request(op, 0, (), paths)


def _paths_of(op: Op) -> int:
    """How many paths its records have."""
    return sum(field.name in ("PATH", "TILDE_PATH", "HANDLE") for field in op.fields)


def _read(text: str) -> bytes:
    return _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else _ODD, text).encode("utf-8", "surrogatepass")


def _samples(requests: Iterable[Request]) -> list[Request]:
    """One for all that differ in the last name only, where a rule cannot tell them apart."""
    found: dict[object, Request] = {}
    for request in requests:
        where = tuple(map(_parent, request.paths))
        found.setdefault((request.op, request.pflags, where), request)
    return list(found.values())


def _parent(path: bytes) -> bytes:
    return b"".join(path.rstrip(b"/").rpartition(b"/")[:2]) if path.strip(b"/") else path


def _classes(classes: frozenset[OpClass]) -> dict[str, Any]:
    """In the fewest words. What is not named is denied, unless all is allowed."""
    if classes == frozenset(OpClass):
        return {}
    presets = (Preset.UPLOAD_ONLY, Preset.DOWNLOAD_ONLY)
    preset = min(presets, key=lambda one: len(PRESETS[one] ^ classes))
    allow = tuple(each for each in OpClass if each in classes - PRESETS[preset])
    deny = tuple(each for each in OpClass if each in PRESETS[preset] - classes)
    return {"preset": preset, "allow": allow, "deny": deny}


# Path rules


def _path_rules(requests: list[Request], classes: frozenset[OpClass]) -> Iterator[list[tuple[str, frozenset[OpClass]]]]:
    """Patterns and what is allowed on them, the tightest first; none, if paths are not all of one form."""
    used = [(_parts(path), on - _ASKING) for request in requests for path, on in needed(request) if on - _ASKING]
    if not used or len({absolute for (absolute, _), _ in used}) > 1 or any(".." in parts for (_, parts), _ in used):
        return
    top = "" if used[0][0][0] else "~"
    for depth in range(max(1, *(len(parts) for (_, parts), _ in used)), 0, -1):
        patterns: dict[str, frozenset[OpClass]] = {}
        for (_, parts), on in used:
            pattern = f"{top}/{'/'.join(_pattern(parts, depth))}"
            patterns[pattern] = patterns.get(pattern, frozenset()) | on
        if len(patterns) <= MAX_RULES - 2:
            for each in (patterns, dict.fromkeys(patterns, classes - _ASKING)):
                yield [("/**", _ASKING), *sorted(each.items())]


def _parts(path: bytes) -> tuple[bool, list[str]]:
    """Whether it is a whole path, and its names as they may stand in a pattern."""
    text = path.decode("utf-8", "surrogatepass")
    names = [re.sub(r"\*+", "*", name) for name in text.split("/") if name not in ("", ".")]
    odd = ["".join(char if char.isprintable() and char != _ODD else "?" for char in name) for name in names]
    return text.startswith("/"), odd


def _pattern(parts: list[str], depth: int) -> list[str]:
    """All files in the same directory; if that is below the depth, all that there is."""
    if len(parts) - 1 > depth:
        return [*parts[:depth], "**"]
    return [*parts[:-1], "*"] if parts else []


def _with(plain: Policy, allowed: list[tuple[str, frozenset[OpClass]]]) -> Policy | None:
    try:
        rules = [
            PathRule(path=path, access=Access.ALLOW, classes=tuple(each for each in OpClass if each in classes))
            for path, classes in allowed
        ]
    except ValidationError:  # a pattern is too long
        return None
    return plain.model_copy(update={"paths": (*rules, PathRule(path="/**", access=Access.DENY))})


def _allows(policy: Policy, requests: list[Request]) -> bool:
    compiled = Compiled(policy)
    contexts = Context(), Context(b"/home/of/somebody")
    return all(compiled.decide(request, context) == Allow() for request in requests for context in contexts)
