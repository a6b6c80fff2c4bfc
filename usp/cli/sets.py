"""Sets of items in files: HCL, YAML and JSON of one shape, read with the place of everything, and written again.

* HCL: a labelled block for each item: `listener "partners" { port = 2222 }`
* YAML and JSON: kind -> items, each with its `name`; or kind -> name -> fields; or a list of items with their `kind`;
  all of that may lie below `items`, as in the REST API

A kind may be written as in the API or in the singular, with '-' or '_'. YAML is read as YAML 1.2 (core schema: `no` is
a text, `022` a number), without anchors and tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from usp import hcl
from usp.errors import Problem, UspError
from usp.hcl import Node
from usp.model import KINDS

MAX_BYTES: Final = 16 << 20
ITEMS: Final = "items"
SUFFIXES: Final[Mapping[str, str]] = {".hcl": "hcl", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}

Loc = tuple[str | int, ...]
Fields = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """A file's text. `tree` has the places; of JSON it is only made when it is needed."""

    source: str
    format: str
    text: str = field(repr=False)

    @cached_property
    def tree(self) -> Node:
        if self.format == "hcl":
            return hcl.parse(self.text, self.source, labelled=True)
        # JSON is YAML, but for tabs between its parts and some rare escapes.
        return _yaml(self.text.replace("\t", " ") if self.format == "json" else self.text, self.source)

    def plain(self) -> Any:
        return _json(self.text, self.source) if self.format == "json" else self.tree.plain()

    def at(self, path: Loc) -> str:
        """`FILE:LINE:COL` of what is at that path, or of the nearest thing around it."""
        try:
            node = self.tree
        except UspError:
            return self.source
        for part in path:
            inner: Any = node.value
            if isinstance(inner, Mapping) and part in inner:
                node = inner[str(part)]
            elif isinstance(inner, tuple) and isinstance(part, int) and part < len(inner):
                node = inner[part]
            else:
                break
        return f"{self.source}:{node.line}:{node.column}"


@dataclass
class Set:
    """Items by kind, and where each of them comes from."""

    items: dict[str, list[Fields]] = field(default_factory=dict)
    origins: dict[tuple[str, int], tuple[Text, Loc]] = field(default_factory=dict)

    def add(self, kind: str, fields: Fields, text: Text, path: Loc) -> None:
        items = self.items.setdefault(kind, [])
        self.origins[kind, len(items)] = (text, path)
        items.append(fields)

    def located(self, problem: Problem) -> Problem:
        """A manager's problem with the place in the file that is to blame."""
        match problem.loc:
            case ("items", str(kind), int(index), *rest) if (kind, index) in self.origins:
                text, path = self.origins[kind, index]
                name = str(self.items[kind][index].get("name", index))
                return Problem((kind, name, *rest), problem.msg, at=text.at((*path, *rest)))
        return problem


def files(path: str) -> list[str]:
    """The path itself; of a directory, the files in it whose suffix says that they are sets, by name."""
    folder = Path(path)
    if path == "-" or not folder.is_dir():
        return [path]
    found = sorted(str(file) for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise UspError("settings.unreadable", f"there is no {', '.join(SUFFIXES)} in {path}")
    return found


def read(path: str, stdin: Callable[[], str]) -> Text:
    """The text of a file, or of the standard input for `-`."""
    if path == "-":
        text = stdin()
        return Text("<stdin>", format_of(text), text)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UspError("settings.invalid", f"{path} is larger than {MAX_BYTES} bytes")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UspError("settings.unreadable", f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UspError("settings.invalid", f"{path} is not UTF-8 text") from None
    return Text(path, SUFFIXES.get(Path(path).suffix) or format_of(text), text)


def format_of(text: str) -> str:
    """What the text looks like."""
    lines = (line for line in map(str.strip, text.splitlines()) if line and not line.startswith(("#", "//", "/*")))
    first = next(lines, "")
    if first.startswith(("{", "[")):
        return "json"
    return "hcl" if re.match(r'[\w-]+\s*("[^"]*"|[\w-]+)?\s*[{=]', first) else "yaml"


def collect(texts: Iterable[Text]) -> Set:
    """All items of the files; UspError settings.invalid with everything that is wrong."""
    found = Set()
    problems: list[Problem] = []
    for text in texts:
        for kind, fields, path in _entries(text.plain(), (), "", problems, text):
            found.add(kind, fields, text, path)
    if problems:
        raise UspError("settings.invalid", "this is not a set of items", problems=problems)
    return found


def _entries(
    value: Any, path: Loc, kind: str, problems: list[Problem], text: Text
) -> Iterator[tuple[str, Fields, Loc]]:
    """`kind`: what everything below here is; "" where it must still be said."""
    match value:
        case None if path in ((), (ITEMS,)):
            return
        case {"items": list() | dict() | None as items} if not path:
            yield from _entries(items, ("items",), "", problems, text)
            value = {name: each for name, each in value.items() if name != ITEMS}
            yield from _entries(value, (), "", problems, text)
        case list():
            for place, fields in enumerate(value):
                here = (*path, place)
                wanted = kind or (_kinds().get(str(fields.get("kind"))) if isinstance(fields, dict) else None)
                if not isinstance(fields, dict) or wanted is None:
                    msg = "must be an object of an item's fields" + ("" if kind else ", with its kind")
                    problems.append(Problem(here, msg, at=text.at(here)))
                    continue
                yield wanted, {name: each for name, each in fields.items() if name != "kind"}, here
        case dict() if kind:
            for name, fields in value.items():
                here = (*path, name)
                if not isinstance(fields, dict) or fields.get("name", name) != name:
                    msg = "must be an object of the fields of the item of that name"
                    problems.append(Problem(here, msg, at=text.at(here)))
                    continue
                yield kind, {"name": name, **fields}, here
        case dict():
            for word, items in value.items():
                found = _kinds().get(word)
                if found is None:
                    msg = "there is no such kind of item"
                    problems.append(Problem((*path, word), msg, at=text.at((*path, word))))
                    continue
                yield from _entries(items, (*path, word), found, problems, text)
        case _:
            problems.append(Problem(path, "must be a list or an object of items", at=text.at(path)))


@cache
def _kinds() -> Mapping[str, str]:
    """Every way to write a kind -> the kind."""
    found = {}
    for kind in KINDS:
        for word in (kind, singular(kind)):
            found[word] = found[word.replace("-", "_")] = kind
    return found


def singular(kind: str) -> str:
    """As an HCL block is called: `private-keys` -> `private_key`."""
    return KINDS[kind].title.lower().replace(" ", "_")


# Reading


def _json(text: str, source: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> Fields:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
            raise UspError("settings.invalid", problems=[Problem((twice,), "is here twice in an object", at=source)])
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        at = f"{source}:{error.lineno}:{error.colno}"
        raise UspError("settings.invalid", problems=[Problem((), f"is not JSON: {error.msg}", at=at)]) from None
    except RecursionError:
        raise UspError("settings.invalid", f"{source} is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not taken: write it out", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _yaml(text: str, source: str) -> Node:
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        return _node(root) if root is not None else Node(1, 1, None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UspError("settings.invalid", problems=[Problem((), f"is not YAML: {error.problem}", at=at)]) from None
    except (yaml.YAMLError, RecursionError):
        raise UspError("settings.invalid", problems=[Problem((), "is not YAML", at=source)]) from None


def _node(found: yaml.Node) -> Node:
    line, column = found.start_mark.line + 1, found.start_mark.column + 1
    if not found.tag.startswith("tag:yaml.org,2002:"):
        raise yaml.MarkedYAMLError(problem=f"the tag {found.tag} is not taken", problem_mark=found.start_mark)
    if isinstance(found, yaml.SequenceNode):
        return Node(line, column, tuple(_node(each) for each in found.value))
    if isinstance(found, yaml.ScalarNode):
        return Node(line, column, _scalar(found))
    members: dict[str, Node] = {}
    for key, value in found.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key is not a text", problem_mark=key.start_mark)
        if key.value in members:
            raise yaml.MarkedYAMLError(problem=f"'{key.value}' is here twice", problem_mark=key.start_mark)
        inner = _node(value)
        place = key.start_mark
        members[key.value] = Node(place.line + 1, place.column + 1, inner.value)
    return Node(line, column, members)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text, tag = str(node.value), node.tag.rpartition(":")[2]
    if node.style is not None:
        return text
    if tag == "null":
        return None
    if tag == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if tag in ("int", "float") and re.fullmatch(r"[-+]?\d{1,40}", text):
        return int(text)
    if tag == "float" and re.fullmatch(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?", text):
        return float(text)
    return text


# Writing


def written(items: Mapping[str, list[Fields]], format: str) -> str:
    """The set as a text that `read` takes."""
    if format == "json":
        return json.dumps({ITEMS: items}, indent=2, ensure_ascii=False) + "\n"
    if format == "yaml":
        return yaml.dump(dict(items), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    blocks = [_block(kind, fields) for kind, entries in items.items() for fields in entries]
    return "\n".join(blocks)


class _Dumper(yaml.SafeDumper):
    """PEM texts and banners as blocks of lines."""


def _str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    strange = re.search("[\x85\u2028\u2029]", text)  # which YAML 1.1 takes for line ends
    style = '"' if strange else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _str)


def _block(kind: str, fields: Fields) -> str:
    lines = [f"{singular(kind)} {_quoted(fields['name'])} {{\n"]
    for name, value in fields.items():
        if name != "name":
            lines.append(f"  {name} = {_lines(value) or _value(value)}\n")
    return "".join([*lines, "}\n"])


def _lines(value: Any) -> str:
    """A text of several lines as such; "" for anything else. (Not in a list: its end must stand alone on a line.)"""
    if isinstance(value, str) and re.fullmatch(r"[\n\x20-\x7e]*\n", value) and not re.search(r"EOT|%\{", value):
        return "<<EOT\n" + value.replace("${", "$${") + "EOT"
    return ""


def _value(value: Any) -> str:
    match value:
        case str():
            return _quoted(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{name} = {_value(each)}' for name, each in value.items())}}}"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """As JSON quotes it, which HCL reads alike; but `\\uXXXX` only for what is no character of its own."""
    quoted = re.sub(
        r"\\(.)", lambda escape: _NO_ESCAPES.get(escape[1], escape[0]), json.dumps(text, ensure_ascii=False)
    )
    # HCL's own $${ and %%{ are not in python-hcl2's grammar of quoted texts
    return re.sub(r"([$%])\{", r"\1\\u007b", quoted)


_NO_ESCAPES: Final = {"b": "\\u0008", "f": "\\u000c"}
"""What JSON has and HCL has not."""
