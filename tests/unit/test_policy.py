"""Policies as they are written."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from usp.errors import Problem
from usp.policy import PRESETS, OpClass, PathRule, Policy, Preset
from usp.wording import problems_of

C = OpClass


def policy(**fields: object) -> Policy:
    return Policy.model_validate_json(json.dumps(fields))


def test_as_it_comes_everything_is_allowed() -> None:
    assert policy() == Policy()
    assert Policy().classes == set(OpClass)


def test_allow_and_deny_change_the_preset() -> None:
    made = policy(preset="upload_only", allow=["rename"], deny=["overwrite", "mkdir"])
    assert made.classes == (PRESETS[Preset.UPLOAD_ONLY] | {C.RENAME}) - {C.OVERWRITE, C.MKDIR}


def test_presets_keep_apart_what_goes_in_and_what_comes_out() -> None:
    up, down = PRESETS[Preset.UPLOAD_ONLY], PRESETS[Preset.DOWNLOAD_ONLY]
    assert not up & {C.READ, C.LIST, C.DELETE, C.RENAME, C.RMDIR, C.LINK, C.READLINK}
    assert not down - {C.READ, C.LIST, C.STAT, C.READLINK, C.OTHER}
    assert PRESETS[Preset.FULL] == set(OpClass)


def test_a_rule_in_print() -> None:
    made = policy(paths=[{"path": "/a/**", "access": "deny", "classes": ["read", "list"]},
                         {"path": "~/b", "access": "allow"}])  # fmt: skip
    assert list(map(str, made.paths)) == ["deny read, list on /a/**", "allow all on ~/b"]


@pytest.mark.parametrize("path", ["/", "/**", "~/", "~/**", "/a", "/a/**/b", "/*.csv", "/a/?/b*c", "~/in/**"])
def test_patterns_of_paths(path: str) -> None:
    assert PathRule.model_validate_json(json.dumps({"path": path, "access": "deny"})).path == path


FORM = "must be in normal form: without //, . and .., and without / at the end"
STARS = "** stands for whole directories: write it alone between two /, such as /in/**"
START = "must begin with / or, for what is below the partner's home at the target, with ~/"


@pytest.mark.parametrize(
    ("path", "msg"),
    [
        ("a", START),
        ("~a/b", START),
        ("**", START),
        ("", "must not be empty"),
        ("/a/", FORM),
        ("//a", FORM),
        ("/a/./b", FORM),
        ("/a/../b", FORM),
        ("~/a//b", FORM),
        ("/a**", STARS),
        ("/***", STARS),
        ("/" + "x" * 1024, "must not be longer than 1024 characters"),
    ],
)
def test_patterns_that_would_not_do_what_they_seem_to(path: str, msg: str) -> None:
    with pytest.raises(ValidationError) as caught:
        policy(paths=[{"path": path, "access": "deny"}])
    assert problems_of(caught.value) == [Problem(("paths", 0, "path"), msg)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"allow": ["read"], "deny": ["read"]}, Problem((), "read: stands in both allow and deny")),
        ({"forbidden_names": ["a/b"]},
         Problem(("forbidden_names", 0), "is a pattern for names, in which there is no /")),
        ({"forbidden_names": ["x"] * 65}, Problem(("forbidden_names",), "must have at most 64 (it has 65)")),
        ({"paths": [{"path": "/", "access": "deny"}] * 65}, Problem(("paths",), "must have at most 64 (it has 65)")),
        ({"max_file_size": -1}, Problem(("max_file_size",), "must be 0 or more")),
        ({"max_open_handles": 0}, Problem(("max_open_handles",), "must be 1 or more")),
        ({"mode": "off"}, Problem(("mode",), "must be 'enforce' or 'observe'")),
        ({"deny": ["eat"]}, None),
        ({"colour": "red"}, Problem(("colour",), "there is no such field")),
    ],
)  # fmt: skip
def test_what_is_refused(fields: dict[str, object], problem: Problem | None) -> None:
    with pytest.raises(ValidationError) as caught:
        policy(**fields)
    (found,) = problems_of(caught.value)
    assert found == problem if problem else found.loc == ("deny", 0)
