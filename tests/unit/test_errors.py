"""The list of failures is well formed; failures and problems read well."""

from __future__ import annotations

import re

import pytest

from usp.errors import CODES, Kind, Problem, UspError


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_dotted_and_has_a_meaning(code: str) -> None:
    kind, meaning = CODES[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code)
    assert isinstance(kind, Kind)
    assert meaning
    assert not meaning.endswith(".")


def test_every_kind_is_used() -> None:
    assert {kind for kind, _ in CODES.values()} == set(Kind)


def test_an_error_has_the_meaning_of_its_code() -> None:
    error = UspError("item.stale")
    assert (error.code, error.kind, error.message) == ("item.stale", Kind.STALE, CODES["item.stale"][1])
    assert str(error) == error.message


def test_an_error_tells_its_problems_and_keeps_its_facts() -> None:
    problems = (Problem(("a", 0), "is wrong"), Problem((), "all is wrong"))
    error = UspError("item.invalid", "no", problems=iter(problems), name="x")
    assert error.problems == problems
    assert error.facts == {"name": "x"}
    assert str(error) == "no; a.0: is wrong; all is wrong"


def test_an_unknown_code_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        UspError("no.such_code")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(("a", 0, "b"), "is wrong"), "a.0.b: is wrong"),
        (Problem((), "is wrong"), "is wrong"),
        (Problem(("a",), "is wrong", at="f:1:2"), "f:1:2: a: is wrong"),
        (Problem((), "is wrong", at="f:1:2"), "f:1:2: is wrong"),
    ],
)
def test_a_problem_reads_place_path_message(problem: Problem, text: str) -> None:
    assert str(problem) == text
