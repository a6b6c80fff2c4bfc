r"""Patterns of names and paths, as regular expressions that cannot be made to run for long.

`*` and `?` stand for characters of one name, `**` for any number of directories, none included. What is searched for
between two stars is taken where it is found first: if the rest does not fit there, it fits nowhere later. So there is
nothing to try again (atomic groups), and the time grows with the length of the path, not with a power of it.

Paths are given as `/a/b`, the root as the empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ANY: Final = "**"


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern of paths. `above`: what stands before the first `**`, or before the last name if there is none."""

    regex: re.Pattern[str]
    above: tuple[re.Pattern[str], ...]
    deep: bool  # there is a `**`

    def fits(self, path: str) -> bool:
        return self.regex.fullmatch(path) is not None

    def reaches_below(self, path: str) -> bool:
        """Something below `path` may fit that would not if `path` had another name. (A pattern that begins with `**`
        fits wherever it is.)"""
        parts = path.split("/")[1:]
        known = all(regex.fullmatch(part) for regex, part in zip(self.above, parts, strict=False))
        return bool(self.above) and known and (self.deep or len(parts) <= len(self.above))


def path_glob(pattern: str) -> Glob:
    """Of a pattern that begins with `/` and is in normal form."""
    parts = pattern.split("/")[1:]
    deep = _ANY in parts
    above = parts[: parts.index(_ANY)] if deep else parts[:-1]
    return Glob(re.compile(_path(parts)), tuple(re.compile(_name(part)) for part in above), deep)


def names(patterns: Iterable[str]) -> re.Pattern[str]:
    """Fits a name that fits one of the patterns."""
    return re.compile("|".join(map(_name, patterns)) or r"(?!)")


def _path(parts: list[str]) -> str:
    blocks: list[str] = [""]
    for part in parts:
        if part == _ANY:
            blocks.append("")
        elif part:  # the root has none
            blocks[-1] += "/" + _name(part)
    first, *others = blocks
    if not others:
        return first
    *between, last = others
    found = "".join(rf"(?>(?:/[^/]+)*?{block}(?![^/]))" for block in between if block)
    return rf"{first}(?![^/]){found}(?:/[^/]+)*?{last}"


def _name(pattern: str) -> str:
    first, *others = ["".join(map(_char, piece)) for piece in re.split(r"\*+", pattern)]
    if not others:
        return first
    *between, last = others
    return first + "".join(f"(?>[^/]*?{piece})" for piece in between) + "[^/]*" + last


def _char(char: str) -> str:
    return "[^/]" if char == "?" else re.escape(char)
