"""Failures and problems read well."""

from __future__ import annotations

import pytest

from usp.errors import CODES, Kind, Problem, UspError


def test_an_error_has_the_meaning_of_its_code() -> None:
    error = UspError("item.stale")
    assert (error.code, error.kind, error.message) == ("item.stale", Kind.STALE, CODES["item.stale"].meaning)
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
