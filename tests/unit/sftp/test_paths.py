from __future__ import annotations

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.sftp.paths import normalise, normalise_tilde, problem

PATHS = st.lists(st.sampled_from([b"a", b"b.", b"..", b".", b"", b"\xff", b"~", b"...", b" "]), max_size=8).map(
    b"/".join
)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"", b"."),
        (b".", b"."),
        (b"./", b"."),
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/..", b"/"),
        (b"/../..//etc/./passwd", b"/etc/passwd"),
        (b"a/../..", b".."),
        (b"../../a/", b"../../a/"),
        (b"../", b".."),
        (b"a/b/..", b"a"),
        (b"/dir/", b"/dir/"),
        (b"dir//", b"dir/"),
        (b"caf\xe9/\xff", b"caf\xe9/\xff"),
        (b"...", b"..."),
        (b" a ", b" a "),
        (b"%2e%2e/%2fetc", b"%2e%2e/%2fetc"),  # encoded: names like others, as they are for a target
        (b"..\\a", b"..\\a"),
        (b"\xc0\xae\xc0\xae/a", b"\xc0\xae\xc0\xae/a"),  # `..` in more bytes than UTF-8 permits
    ],
)
def test_normal_form(path: bytes, normal: bytes) -> None:
    assert normalise(path) == normal


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"~", b"~"),
        (b"~/", b"~/"),
        (b"~//", b"~/"),
        (b"~//a", b"~/a"),
        (b"~/../x", b"~/../x"),
        (b"~user/a/../b", b"~user/b"),
        (b"/~/../x", b"/x"),
        (b"a/..", b"."),
    ],
)
def test_a_leading_tilde_is_not_undone(path: bytes, normal: bytes) -> None:
    assert normalise_tilde(path) == normal
    assert normalise_tilde(normal) == normal


@settings(max_examples=200)
@given(PATHS)
def test_it_is_the_same_place_and_stays_as_it_is(path: bytes) -> None:
    normal = normalise(path)
    assert normalise(normal) == normal
    expected = posixpath.normpath(path)
    assert (normal.rstrip(b"/") or b"/") == (b"/" if expected == b"//" else expected.replace(b"//", b"/"))
    assert b".." not in normal.lstrip(b"./").split(b"/")
    assert normal.startswith(b"/") == path.startswith(b"/")


def test_no_target_has_such_a_path() -> None:
    assert problem(b"/a", 2) == ""
    assert "longer than 2" in problem(b"/ab", 2)
    assert "NUL" in problem(b"a\0", 9)
