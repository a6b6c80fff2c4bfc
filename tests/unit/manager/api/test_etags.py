"""Entity tags."""

from __future__ import annotations

import pytest

from usp.manager.api import etags


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ("*", None, None),
        (" * ", None, None),
        ('"12"', {12}, {12}),
        (' "1" , "2","3"', {1, 2, 3}, {1, 2, 3}),
        (',, "1",', {1}, {1}),
        ('W/"1", "2"', {2}, {1, 2}),
        ('"x", "4"', {4}, {4}),
        ('"-1"', set(), set()),
        ('"' + "9" * 5000 + '"', set(), set()),
        ("1", set(), set()),
        ('"', set(), set()),
        ('""', set(), set()),
        ('"1" "2"', set(), set()),
        ('"1", *', set(), set()),
        ('w/"1"', set(), set()),
        ("", set(), set()),
    ],
)
def test_revisions(header: str, strong: set[int] | None, weak: set[int] | None) -> None:
    assert etags.revisions(header, weak=False) == strong
    assert etags.revisions(header, weak=True) == weak


def test_unchanged() -> None:
    assert [etags.unchanged(header, 7) for header in (None, "*", etags.of(7), 'W/"7"', '"8"', "7")] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_it_takes_no_time_to_refuse_nonsense() -> None:
    assert etags.revisions(", " * 20_000 + "x", weak=False) == frozenset()
