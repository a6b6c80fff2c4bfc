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


@pytest.mark.parametrize("root", ["/", "/partners/{account}", "/a b/x-{account}.d", "/C:/in", "/caf\u00e9"])
def test_roots(root: str) -> None:
    assert policy(root=root).root == root


def test_windows_as_they_come_and_in_print() -> None:
    made = policy(windows=[{"access": "closed"}, {"access": "read_only", "days": ["mon", "tue"], "start": "22:00",
                                                  "end": "06:00", "timezone": "Europe/Zurich"}])  # fmt: skip
    assert list(map(str, made.windows)) == [
        "closed daily 00:00-24:00 UTC",
        "read_only mon,tue 22:00-06:00 Europe/Zurich",
    ]


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


ROOT_START = "must begin with /: it is a directory as the target shows it to its SFTP user"
BRACES = "must be printable, and the only braces in it are those of {account}"
ZONE = "is no time zone: write UTC, or one such as Europe/Zurich"
CLOCK = "must be a time of day, from 00:00 to 24:00"
TIMES = "must start and end at different times, and start before 24:00"


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
        ({"root": "partners/acme"}, Problem(("root",), ROOT_START)),
        ({"root": "~/acme"}, Problem(("root",), ROOT_START)),
        ({"root": "/a/../b"}, Problem(("root",), FORM)),
        ({"root": "/a/"}, Problem(("root",), FORM)),
        ({"root": "//"}, Problem(("root",), FORM)),
        ({"root": "/a/{user}"}, Problem(("root",), BRACES)),
        ({"root": "/a/{{account}}"}, Problem(("root",), BRACES)),
        ({"root": "/a\n"}, Problem(("root",), BRACES)),
        ({"root": ""}, Problem(("root",), "must not be empty")),
        ({"windows": [{"access": "closed", "timezone": "Mars/Base"}]}, Problem(("windows", 0, "timezone"), ZONE)),
        ({"windows": [{"access": "closed", "timezone": "../UTC"}]}, Problem(("windows", 0, "timezone"), ZONE)),
        ({"windows": [{"access": "closed", "timezone": "Europe"}]}, Problem(("windows", 0, "timezone"), ZONE)),
        ({"windows": [{"access": "closed", "start": "9:00"}]}, Problem(("windows", 0, "start"), CLOCK)),
        ({"windows": [{"access": "closed", "end": "24:30"}]}, Problem(("windows", 0, "end"), CLOCK)),
        ({"windows": [{"access": "closed", "start": "09:00", "end": "09:00"}]}, Problem(("windows", 0), TIMES)),
        ({"windows": [{"access": "closed", "start": "24:00", "end": "09:00"}]}, Problem(("windows", 0), TIMES)),
        ({"windows": [{"access": "open"}]}, Problem(("windows", 0, "access"), "must be 'read_only' or 'closed'")),
        ({"windows": [{"access": "closed", "days": ["monday"]}]}, None),
        ({"windows": [{"access": "closed"}] * 33}, Problem(("windows",), "must have at most 32 (it has 33)")),
        ({"mode": "off"}, Problem(("mode",), "must be 'enforce' or 'observe'")),
        ({"deny": ["eat"]}, None),
        ({"colour": "red"}, Problem(("colour",), "there is no such field")),
    ],
)  # fmt: skip
def test_what_is_refused(fields: dict[str, object], problem: Problem | None) -> None:
    with pytest.raises(ValidationError) as caught:
        policy(**fields)
    (found,) = problems_of(caught.value)
    assert found == problem if problem else found.loc[0] in fields
