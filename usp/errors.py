"""Every failure of the suite has one dotted code; `usp.codes` lists them all.

Three words: a *Problem* is one located thing wrong with input (a value, collected in lists, never raised); a
*UspError* is a failure that stops what was asked (raised); a bug is an `assert`. Edges (REST, SSH, exit codes)
translate by `Kind`, through one table each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from usp.codes import CODES as CODES
from usp.codes import Kind as Kind


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with input. `loc` is the way to it: ("listeners", 0, "port"); `msg` says what to do.

    `at` is its place in a text, if it came from one: `FILE:LINE:COL`, or the name of an environment variable.
    """

    loc: tuple[str | int, ...]
    msg: str
    at: str = ""

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.loc)
        return ": ".join(part for part in (self.at, where, self.msg) if part)


class UspError(Exception):
    """A failure with a code of `CODES`, a sentence for the reader, and the problems that led to it, if located.

    `facts` are public values for the log (names, addresses, numbers), never secrets.
    """

    def __init__(self, code: str, message: str = "", *, problems: Iterable[Problem] = (), **facts: object) -> None:
        assert code in CODES, code
        self.code = code
        self.kind, self.meaning = CODES[code][:2]
        self.message = message or self.meaning
        self.problems = tuple(problems)
        self.facts = facts
        super().__init__(self.message)

    def __str__(self) -> str:
        return "; ".join([self.message, *map(str, self.problems)])
