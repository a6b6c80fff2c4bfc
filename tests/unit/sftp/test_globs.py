from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.sftp.globs import names, path_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("/", [""], ["/a"]),
        ("/**", ["", "/a", "/a/b", "/\n"], ["\0"]),
        ("/a", ["/a"], ["", "/a/b", "/b", "/aa"]),
        ("/a/**", ["/a", "/a/b", "/a/b/c"], ["/ab", "/b/a", ""]),
        ("/*.csv", ["/x.csv", "/.csv"], ["/a/x.csv", "/x.csvx", "/xcsv"]),
        ("/a?c", ["/abc", "/a\nc"], ["/ac", "/a/c", "/abbc"]),
        ("/**/b", ["/b", "/a/b", "/b/b"], ["/ab", "/b/a"]),
        ("/a/**/b/**/c", ["/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c/c"], ["/a/c", "/a/b", "/a/bx/c", "/ax/b/c"]),
        ("/**/a/**", ["/a", "/x/a", "/x/a/y"], ["/x/ab", "/xa/y", ""]),
        ("/a*b*c", ["/abc", "/aXbYc", "/abbcc"], ["/ac", "/acb", "/a/bc"]),
        ("/**/x*/y", ["/x/y", "/a/x1/x2/y"], ["/x/a/y"]),
        ("/[a](b)", ["/[a](b)"], ["/a"]),
    ],
)
def test_paths(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    glob = path_glob(pattern)
    assert [path for path in (*fits, *fits_not) if glob.fits(path)] == fits


@pytest.mark.parametrize(
    ("pattern", "below", "not_below"),
    [
        ("/a/b/c", ["", "/a", "/a/b"], ["/a/b/c", "/a/x", "/b"]),
        ("/a/b/**", ["", "/a", "/a/b", "/a/b/c"], ["/a/c", "/b"]),
        ("/a/**/b", ["", "/a", "/a/x/y"], ["/b"]),
        ("/*.csv", [], ["", "/x"]),
        ("/a*/b", ["", "/ax"], ["/b"]),
        ("/**", [], ["", "/a"]),
        ("/**/b", [], ["", "/a"]),
    ],
)
def test_what_may_be_below(pattern: str, below: list[str], not_below: list[str]) -> None:
    glob = path_glob(pattern)
    assert [path for path in (*below, *not_below) if glob.reaches_below(path)] == below


def test_names() -> None:
    regex = names(["*.exe", "a?", "con"])
    assert [name for name in (".exe", "x.exe", "x.exe.txt", "ab", "a", "con", "cone") if regex.fullmatch(name)] == [
        ".exe",
        "x.exe",
        "ab",
        "con",
    ]
    assert not names([]).fullmatch("")


def plainly(pattern: str, text: str) -> bool:
    """Try everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(plainly(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and plainly(pattern[1:], text[1:])


def plainly_paths(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(plainly_paths(pattern[1:], path[at:]) for at in range(len(path) + 1))
    return bool(path) and plainly(pattern[0], path[0]) and plainly_paths(pattern[1:], path[1:])


PARTS = st.lists(st.text("ab*?", min_size=1, max_size=5).filter(lambda part: "**" not in part) | st.just("**"),
                 min_size=1, max_size=5)  # fmt: skip
PATHS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=6)


@settings(max_examples=400, deadline=None)
@given(PARTS, PATHS)
def test_it_finds_what_trying_everything_finds(pattern: list[str], path: list[str]) -> None:
    glob = path_glob("/" + "/".join(pattern))
    assert glob.fits("".join(f"/{part}" for part in path)) == plainly_paths(pattern, path)


def test_nothing_is_tried_again_and_again() -> None:
    """With backtracking, each of these would take longer than anybody waits."""
    hostile = ["/" + "a" * 4000, "/a" * 2000, "/" + "ab" * 2000]
    patterns = ["/" + "a*" * 300 + "z", "/" + "/".join(["**", "a*a*z"] * 60), "/**/" + "a*" * 100 + "z"]
    for pattern, path in itertools.product(patterns, hostile):
        assert not path_glob(pattern).fits(path)
    assert not names(["*a" * 100 + "z"]).fullmatch("a" * 4000)
