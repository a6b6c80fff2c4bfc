"""Reads our configuration files: HCL native syntax, without expressions (github.com/hashicorp/hcl, spec.md).

python-hcl2 gives the raw parse tree; a small walk turns it into `Node`s, each with its line and column. Only what a
configuration file needs is let through: arguments with literal values, blocks, comments. Whatever could hide a mistake
is refused with its place: duplicates, interpolation, calls, two arguments on one line.

Blocks have no labels, unless the reader asks for them: then each block at the top has one, and `listener "a" { ... }`
and `listener "b" { ... }` become `{"listener": {"a": {...}, "b": {...}}}`, as in HCL's own JSON syntax.

`python -m usp.hcl` parses once in order to write python-hcl2's grammar cache (a pickle beside that package). Installers
run it, because a service that may not write there would compute the grammar for seconds at every start.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hcl2.parser import parser
from lark import Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from usp.errors import Problem, UspError

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 16
MAX_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class Node:
    """A value, with the place of what it belongs to: the argument's or block's name, or the list element itself."""

    line: int
    column: int
    value: str | int | float | bool | tuple[Node, ...] | Mapping[str, Node] | None
    block: bool = False

    def plain(self) -> Any:
        """The value as Python would write it: dict, list, str, int, float, bool, None."""
        if isinstance(self.value, Mapping):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value


def read(path: Path, *, labelled: Collection[str] = ()) -> Node:
    """The file as one block; `UspError` with located problems when it is not that. `labelled`: the names of blocks at
    the top that have labels."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UspError("settings.unreadable", f"{path}: {error.strerror}", path=str(path)) from None
    if len(data) > MAX_BYTES:
        raise UspError("settings.invalid", problems=[Problem((), f"is larger than {MAX_BYTES} bytes", at=str(path))])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place(path, data, error.start)
        raise UspError("settings.invalid", problems=[Problem((), "is not UTF-8 text", at=place)]) from None
    return parse(text, str(path), labelled=labelled)


def _place(path: Path, data: bytes, offset: int) -> str:
    before = data[:offset].split(b"\n")
    return f"{path}:{len(before)}:{len(before[-1]) + 1}"


def parse(text: str, source: str = "<text>", *, labelled: bool | Collection[str] = False) -> Node:
    """The text as one block. `source` names it in problems; `labelled`: the blocks at the top have labels, or those of
    these names."""
    try:
        # The grammar wants every statement to end with a newline.
        tree = parser().parse(text + "\n")
    except UnexpectedInput as error:
        raise UspError("settings.invalid", problems=[_syntax_problem(text, error, source)]) from None
    walk = _Walk(source, labelled)
    root = walk.body(next(_trees(tree)), (), 1, 1)
    if walk.problems:
        raise UspError("settings.invalid", problems=walk.problems)
    return root


# --- from the parse tree to nodes ---

_REFUSED: Final = {
    "identifier": ("is a bare word", "put text in double quotes"),
    "function_call": ("is a function call", "only literal values are allowed"),
    "interpolation": ("contains ${...}", "only literal values are allowed; write $${ for the characters themselves"),
}
_NO_EXPRESSION: Final = ("is an expression", "only literal values are allowed")
_TEMPLATE: Final = ("contains a template", "only literal values are allowed; write %%{ for the characters themselves")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_LITERALS: Final = {"true": True, "false": False, "null": None}

_Path = tuple[str | int, ...]
_Tree = Tree[Token]


class _RefusedError(Exception):
    """This value cannot be taken; the walk goes on behind it."""


class _Walk:
    """One pass over the tree; problems are collected, so that a reader sees all of them at once."""

    def __init__(self, source: str, labelled: bool | Collection[str]) -> None:
        self.source = source
        self.labelled = labelled
        self.problems: list[Problem] = []

    def refuse(self, path: _Path, line: int, column: int, what: str, hint: str = "") -> None:
        msg = f"{what} ({hint})" if hint else what
        self.problems.append(Problem(path, msg, at=f"{self.source}:{line}:{column}"))

    def body(self, tree: _Tree, path: _Path, line: int, column: int) -> Node:
        members: dict[str, Node] = {}
        groups: dict[str, dict[str, Node]] = {}
        end = (0, 0)
        for statement in _trees(tree):
            if statement.data == "new_line_or_comment":
                continue
            name_tree = next(_trees(statement))
            name = str(name_tree.children[0])
            at = name_tree.meta.line, name_tree.meta.column
            here = (*path, name)
            if end[0] == at[0] and end[1] > 1:
                self.refuse(here, *at, "stands behind another argument", "one argument or block per line")
            end = statement.meta.end_line, statement.meta.end_column
            labelled = not path and statement.data == "block" and self.has_label(name)
            if labelled and (name in groups or name not in members):
                group = groups.setdefault(name, {})
                members.setdefault(name, Node(*at, group, block=True))
                self.labelled_block(statement, group, here, *at)
                continue
            if name in members:
                self.refuse(here, *at, f"is here twice, first in line {members[name].line}")
                continue
            members[name] = self.statement(statement, here, *at)
        return Node(line, column, members, block=True)

    def has_label(self, name: str) -> bool:
        return self.labelled if isinstance(self.labelled, bool) else name in self.labelled

    def statement(self, statement: _Tree, path: _Path, line: int, column: int) -> Node:
        if statement.data == "attribute":
            return self.value(_last_tree(statement), path, line, column)
        labels, body = _labels(statement)
        if labels:
            self.refuse(path, line, column, "has a label", f"write {path[-1]} {{ ... }}")
        if len(path) > MAX_DEPTH:
            self.refuse(path, line, column, f"is nested deeper than {MAX_DEPTH}")
            return Node(line, column, {}, block=True)
        return self.body(body, path, line, column)

    def labelled_block(self, statement: _Tree, group: dict[str, Node], path: _Path, line: int, column: int) -> None:
        labels, body = _labels(statement)
        if len(labels) != 1:
            found = "has more than one label" if labels else "has no label"
            self.refuse(path, line, column, found, f'write {path[-1]} "NAME" {{ ... }}')
            return
        (tree,) = labels
        label = tree.children[0] if tree.data == "identifier" else self.value(tree, path, line, column).value
        if label is None:
            return  # refused already
        label = str(label)
        if label in group:
            self.refuse((*path, label), line, column, f"is here twice, first in line {group[label].line}")
            return
        group[label] = self.body(body, (*path, label), line, column)

    def value(self, tree: _Tree, path: _Path, line: int, column: int) -> Node:
        try:
            return Node(line, column, self.literal(tree, path))
        except _RefusedError as refused:
            what, *hint = refused.args
            self.refuse(path, line, column, what, *hint)
            return Node(line, column, None)

    def literal(self, tree: _Tree, path: _Path) -> Any:
        if tree.data == "expr_term" and len(tree.children) == 1:
            tree = next(_trees(tree))
        match tree.data:
            case "string":
                return "".join(_string_part(part) for part in _trees(tree))
            case "int_lit" | "float_lit":
                return _number(str(tree.children[0]))
            case "unary_op" if tree.children[0] == "-":
                return -_positive(self.literal(_last_tree(tree), path))
            case "literal_value":
                return _LITERALS[str(tree.children[0])]
            case "tuple":
                return self.elements(tree, path)
            case "object":
                return self.members(tree, path)
            case "heredoc_template" | "heredoc_template_trim":
                return _heredoc(str(tree.children[0]), trim=tree.data.endswith("trim"))
        raise _RefusedError(*_REFUSED.get(str(tree.data), _NO_EXPRESSION))

    def elements(self, tree: _Tree, path: _Path) -> tuple[Node, ...]:
        _bounded(path)
        items = [item for item in _trees(tree) if item.data != "new_line_or_comment"]
        return tuple(
            self.value(item, (*path, index), item.meta.line, item.meta.column) for index, item in enumerate(items)
        )

    def members(self, tree: _Tree, path: _Path) -> dict[str, Node]:
        _bounded(path)
        members: dict[str, Node] = {}
        for element in _trees(tree):
            if element.data == "new_line_or_comment":
                continue
            key, expression = _trees(element)
            name = self.key(key, path)
            if name in members:
                raise _RefusedError(f"has {name!r} twice")
            members[name] = self.value(expression, (*path, name), key.meta.line, key.meta.column)
        return members

    def key(self, tree: _Tree, path: _Path) -> str:
        inner = tree.children[0]
        while isinstance(inner, Tree) and inner.data == "expr_term" and len(inner.children) == 1:
            inner = inner.children[0]
        if isinstance(inner, Tree) and inner.data in ("identifier", "keyword", "literal_value"):
            return str(inner.children[0])
        if isinstance(inner, Tree) and inner.data == "string":
            return str(self.literal(inner, path))
        raise _RefusedError("has a key that is not a name")


def _trees(tree: _Tree) -> Iterator[_Tree]:
    return (child for child in tree.children if isinstance(child, Tree))


def _labels(block: _Tree) -> tuple[list[_Tree], _Tree]:
    """The labels and the body of a block."""
    _, *labels, body = (part for part in _trees(block) if part.data != "new_line_or_comment")
    return labels, body


def _last_tree(tree: _Tree) -> _Tree:
    return list(_trees(tree))[-1]


def _bounded(path: _Path) -> None:
    if len(path) > MAX_DEPTH:
        raise _RefusedError(f"is nested deeper than {MAX_DEPTH}")


def _number(text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        raise _RefusedError(f"has more than {MAX_DIGITS} digits")
    if text.lstrip("-").isdecimal():
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise _RefusedError("is not a finite number")
    return number


def _positive(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _RefusedError(*_NO_EXPRESSION)
    return value


def _string_part(part: _Tree) -> str:
    token = part.children[0]
    if isinstance(token, Tree):
        raise _RefusedError(*_REFUSED.get(str(token.data), _TEMPLATE))
    text = str(token)
    if "\n" in text:
        raise _RefusedError("is a string that does not end on its line", "is a double quote missing?")
    if token.type in ("ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"):
        text = text[1:]
    return _ESCAPE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    escape = match[1]
    if escape in _ESCAPES:
        return _ESCAPES[escape]
    if len(escape) == 1:
        raise _RefusedError(f"contains the unknown escape \\{escape}", 'known are \\n \\r \\t \\" \\\\ \\uXXXX')
    code = int(escape[1:], 16)
    if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise _RefusedError(f"contains \\{escape}, which is not a character")
    return chr(code)


def _heredoc(token: str, *, trim: bool) -> str:
    lines = [line.rstrip("\r") for line in token.split("\n")[1:-2]]
    if trim:
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        lines = [line[min(indents, default=0) :] for line in lines]
    text = "".join(line + "\n" for line in lines)
    if re.search(r"(?<!\$)\$\{|(?<!%)%\{", text):
        raise _RefusedError(*_TEMPLATE)
    return text.replace("$${", "${").replace("%%{", "%{")


# --- syntax errors ---

_CLOSED_QUOTES: Final = re.compile(r'(?:(?://|#).*|[^"]|"(?:[^"\\]|\\.)*")*')
_DOTTED: Final = re.compile(r"\s*([\w-]+)\.([\w-]+)\s*=")


def _syntax_problem(text: str, error: UnexpectedInput, source: str) -> Problem:
    lines = text.split("\n")
    line, column = error.line, error.column
    for number, content in enumerate(lines[:line], start=1):
        if not _CLOSED_QUOTES.fullmatch(content):
            column = content.rindex('"') + 1
            msg = "a string is not closed on its line (is a double quote missing?)"
            return Problem((), msg, at=f"{source}:{number}:{column}")
    at = f"{source}:{line}:{column}"
    dotted = _DOTTED.match(lines[line - 1]) if line <= len(lines) else None
    if dotted and column == dotted.end(1) + 1:
        block, argument = dotted.groups()
        return Problem((block, argument), f"is not HCL (write a block: {block} {{ {argument} = ... }})", at=at)
    return Problem((), f"syntax error: {_seen(error)}, {_wanted(error)}", at=at)


def _seen(error: UnexpectedInput) -> str:
    if not isinstance(error, UnexpectedToken):
        return "unexpected character"
    if error.token.type == "$END":
        return "the file ends here"
    if not error.token.strip():
        return "the line ends here"
    return f"unexpected {str(error.token).strip().splitlines()[0][:20]!r}"


def _wanted(error: UnexpectedInput) -> str:
    expected = error.expected if isinstance(error, UnexpectedToken) else set()
    for terminals, words in _WANTED:
        if terminals <= expected:
            return words
    return "where an argument, a block or the end of the file should be"


_WANTED: Final = (  # the first that fits
    ({"LSQB", "DBLQUOTE"}, "where a value should be"),
    ({"EQ"}, "where = or { should be"),
    ({"LBRACE"}, "where = or { should be"),
    ({"RSQB"}, "where , or ] should be"),
    ({"RPAR"}, "where , or ) should be"),
    ({"RBRACE"}, "where the line should end or a } should be"),
)


if __name__ == "__main__":
    parser()
