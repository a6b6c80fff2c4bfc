"""From a configuration file and the environment to a validated model: the mechanism behind `usp.settings`.

Mistakes are collected and told with their place: `FILE:LINE:COL: path.to.argument: what (hint)`. The description of a
field is its hint. A model may have `problems()` (rules over several of its fields) and `file_problems()` (rules that
look at files); both yield `Problem`s with locations relative to it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from usp.errors import Problem, UspError
from usp.model import Model
from usp.secret import Secret
from usp.wording import problems_of

if TYPE_CHECKING:
    from usp import hcl

PREFIX: Final = "USP_"
MAX_BYTES: Final = 1 << 20
"""Of a file that the settings name."""


@dataclass(frozen=True, slots=True)
class File:
    """Marks an argument that names a file. Nobody but its owner may read a private one."""

    private: bool = False


Settings = TypeVar("Settings", bound=Model)
_Loc = tuple[str | int, ...]


def load(
    model: type[Settings],
    path: str | Path,
    environ: Mapping[str, str],
    *,
    files: bool = True,
    foreign_blocks: Collection[str] = (),
) -> Settings:
    """The effective settings, or `UspError("settings.invalid")` with all problems.

    `files`: look at the files that arguments name, too. `foreign_blocks`: those of other daemons, which may share an
    environment with this one.
    """
    from usp import hcl  # workers know the settings, too, but not the parser

    draft = _Draft(str(path))
    labelled = [name for name, field in model.model_fields.items() if _labelled_model(field)]
    draft.take_block(model, hcl.read(Path(path), labelled=labelled), (), draft.values)
    draft.take_environment(model, environ, foreign_blocks)
    if draft.problems:
        raise UspError("settings.invalid", problems=draft.problems)
    settings = _validated(model, draft)
    problems = list(_rules(settings, (), "problems"))
    if files:
        problems.extend(_files(settings, ()))
        problems.extend(_rules(settings, (), "file_problems"))
    if problems:
        raise UspError("settings.invalid", problems=[draft.placed(problem) for problem in problems])
    return settings


def redacted(settings: Model) -> str:
    """The settings as the HCL text that would give them, secrets as `***`."""
    labelled = {name for name, field in type(settings).model_fields.items() if _labelled_model(field)}
    values = json.loads(settings.model_dump_json())
    blocks = {f"{name} {json.dumps(label)}": block for name in labelled for label, block in values.pop(name).items()}
    return "\n".join(_rendered({**values, **blocks}, ""))


def file_problems(file: str, loc: _Loc, *, private: bool = False) -> Iterator[Problem]:
    """What keeps `read_file` from succeeding."""
    try:
        read_file(file, private=private)
    except UspError as error:
        yield Problem(loc, error.message)


def read_file(path: str, *, private: bool = False) -> str:
    """The text of a file that the settings name; `UspError` if it cannot be read, or is private and others could."""
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UspError("settings.unreadable", f"cannot read {path}: {reason}", path=path) from None
    if private and (why := _exposed(path, status)):
        raise UspError("settings.unreadable", f"{path} {why}", path=path)
    return text


def _exposed(path: str, status: os.stat_result) -> str:
    """Who else gets at a private file, and what to do; or ""."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")  # systemd's LoadCredential: root's, readable for us by an ACL
    if given and Path(path).is_relative_to(given):
        return ""
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"is readable by others (chmod 600 {path})"
    user = os.geteuid()
    if user and status.st_uid not in (0, user):  # root is above such things, and may look for another
        return f"belongs to another user, {status.st_uid}, who could change it (chown {user} {path})"
    return ""


# --- from file and environment to values ---


class _Draft:
    """Values before validation, and where each of them comes from."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.values: dict[str, Any] = {}
        self.places: dict[_Loc, str] = {(): f"{source}:1:1"}
        self.problems: list[Problem] = []

    def take_block(self, model: type[Model], block: hcl.Node, path: _Loc, values: dict[str, Any]) -> None:
        assert isinstance(block.value, Mapping)
        for name, node in block.value.items():
            here = (*path, name)
            self.note_places(node, here)
            field = model.model_fields.get(name)
            if field is None:
                self.problems.append(self.placed(Problem(here, _unknown(name, model.model_fields))))
            elif (inner := _labelled_model(field)) is not None and node.block:
                self.take_labelled(inner, node, here, values.setdefault(name, {}))
            elif (inner := _block_model(field)) is not None and node.block:
                self.take_block(inner, node, here, values.setdefault(name, {}))
            elif (inner is not None or _labelled_model(field) is not None) != node.block:
                wanted = f"is a block (write {name} {{ ... }})" if inner else f"is an argument (write {name} = ...)"
                self.problems.append(self.placed(Problem(here, wanted)))
            else:
                values[name] = node.plain()

    def take_labelled(self, model: type[Model], group: hcl.Node, path: _Loc, values: dict[str, Any]) -> None:
        """Blocks of one name, each with a label of its own."""
        assert isinstance(group.value, Mapping)
        for label, node in group.value.items():
            self.note_places(node, (*path, label))
            self.take_block(model, node, (*path, label), values.setdefault(label, {}))

    def note_places(self, node: hcl.Node, path: _Loc) -> None:
        self.places[path] = f"{self.source}:{node.line}:{node.column}"
        if isinstance(node.value, tuple):
            for index, element in enumerate(node.value):
                self.note_places(element, (*path, index))

    def take_environment(self, model: type[Model], environ: Mapping[str, str], foreign: Collection[str]) -> None:
        known = {_variable(path): (path, field) for path, field in _arguments(model, ())}
        for variable in sorted(name for name in environ if name.startswith(PREFIX)):
            if variable in known:
                self.override(*known[variable], variable, environ[variable])
            elif "__" in variable and _block_of(variable) not in {*foreign} - {*model.model_fields}:
                msg = f"no such argument can be overridden{_suggestion(variable, known)}"
                self.problems.append(Problem((), msg, at=variable))

    def override(self, path: _Loc, field: FieldInfo, variable: str, text: str) -> None:
        values = self.values
        for name in path[:-1]:
            values = values.setdefault(str(name), {})
        for place in [place for place in self.places if place[: len(path)] == path]:
            del self.places[place]
        self.places[path] = variable
        try:
            values[str(path[-1])] = text if _is_text(field) else json.loads(text)
        except ValueError:
            self.problems.append(Problem(path, f"does not read as a value ({_text_hint(field)})", at=variable))

    def placed(self, problem: Problem) -> Problem:
        """The problem with its place: its own, or that of the innermost block around it."""
        loc = problem.loc
        while loc not in self.places:
            loc = loc[:-1]
        return Problem(problem.loc, problem.msg, at=self.places[loc])


def _validated(model: type[Settings], draft: _Draft) -> Settings:
    try:
        return model.model_validate_json(json.dumps(draft.values))
    except ValidationError as error:
        problems = [draft.placed(_with_hint(model, problem)) for problem in problems_of(error)]
        raise UspError("settings.invalid", problems=problems) from None


def _with_hint(model: type[Model], problem: Problem) -> Problem:
    hint = _field(model, problem.loc).description
    return Problem(problem.loc, f"{problem.msg} ({hint})" if hint else problem.msg)


def _field(model: type[Model], loc: _Loc) -> FieldInfo:
    names = iter(map(str, loc))
    for name in names:
        if name not in model.model_fields:
            break  # it is the label that is wrong
        field = model.model_fields[name]
        inner = _block_model(field)
        if inner is None and (inner := _labelled_model(field)) is not None:
            next(names, None)  # the label
        if inner is None:
            break
        model = inner
    return field


def _unknown(name: str, known: Mapping[str, object]) -> str:
    return f"is not known here{_suggestion(name, known)}"


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _block_model(field: FieldInfo) -> type[Model] | None:
    """The model of a field that is a block; `Model | None` is one that may be left out."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Model) else None


def _labelled_model(field: FieldInfo) -> type[Model] | None:
    """The model of a field that is any number of blocks with labels: `dict[str, Model]`."""
    arguments = get_args(field.annotation)
    if get_origin(field.annotation) is not dict:
        return None
    inner = arguments[1]
    return inner if isinstance(inner, type) and issubclass(inner, Model) else None


def _arguments(model: type[Model], path: _Loc) -> Iterator[tuple[_Loc, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = _block_model(field)
        if _labelled_model(field) is not None:
            continue  # there is no name for the argument of one among several
        if inner is None:
            yield (*path, name), field
        else:
            yield from _arguments(inner, (*path, name))


def _variable(path: _Loc) -> str:
    return PREFIX + "__".join(str(name).upper() for name in path)


def _block_of(variable: str) -> str:
    return variable.removeprefix(PREFIX).partition("__")[0].lower()


def _is_text(field: FieldInfo) -> bool:
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]
    return isinstance(annotation, type) and issubclass(annotation, str | Secret)


def _text_hint(field: FieldInfo) -> str:
    if field.annotation in (bool, bool | None):
        return "write true or false"
    if field.annotation in (int, float):
        return "write a number"
    return 'write a JSON list, such as ["a", "b"]'


# --- rules that pydantic does not know ---


def _rules(settings: Model, path: _Loc, method: str) -> Iterator[Problem]:
    for problem in getattr(settings, method, tuple)():
        yield Problem((*path, *problem.loc), problem.msg)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for where, inner in _inner(name, value):
            yield from _rules(inner, (*path, *where), method)


def _files(settings: Model, path: _Loc) -> Iterator[Problem]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        marks = [mark for mark in field.metadata if isinstance(mark, File)]
        for where, inner in _inner(name, value):
            yield from _files(inner, (*path, *where))
        if marks:
            yield from file_problems(value, (*path, name), private=marks[0].private)


def _inner(name: str, value: object) -> Iterator[tuple[_Loc, Model]]:
    """The block, or the blocks with labels, that an argument is."""
    if isinstance(value, Model):
        yield (name,), value
    elif isinstance(value, dict):
        yield from (((name, label), each) for label, each in value.items() if isinstance(each, Model))


def _rendered(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in values.items():
        if value is None:
            continue  # a block that was left out
        if isinstance(value, dict):
            yield f"{indent}{name} {{"
            yield from _rendered(value, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{name} = {json.dumps(value, ensure_ascii=False)}"
