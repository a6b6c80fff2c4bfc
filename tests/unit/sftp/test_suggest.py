"""Suggested policies: they allow all that they were made from, and little else."""

from __future__ import annotations

import posixpath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.policy import Access, Mode, OpClass, Policy, Preset, Window, WindowAccess
from usp.sftp.ops import OPS, OpenFlag
from usp.sftp.packets import Request
from usp.sftp.policy import Allow, Compiled, Context
from usp.sftp.suggest import MAX_RULES, request_of, suggest

Event = dict[str, Any]


def event(name: str, path: str, to: str | None = None, *, mode: str | None = None, outcome: str = "ok") -> Event:
    more = {"to": to, "mode": mode}
    return {"event": name, "path": path, "outcome": outcome, **{k: v for k, v in more.items() if v is not None}}


def put(path: str) -> Event:
    return event("file.closed", path, mode="w")


def got(path: str) -> Event:
    return event("file.closed", path, mode="r")


def allows(policy: Policy, *events: Event, home: bytes | None = None) -> list[bool]:
    compiled = Compiled(policy.model_copy(update={"mode": Mode.ENFORCE}))
    requests = [request for each in events if (request := request_of(each))]
    assert len(requests) == len(events)
    return [compiled.decide(request, Context(home)) == Allow() for request in requests]


def rules(policy: Policy) -> list[str]:
    return list(map(str, policy.paths))


ASKING = "allow readlink, list, stat, other on /**"
DENY = "deny all on /**"


def test_who_only_uploads() -> None:
    made, count = suggest([put("/in/a"), put("/in/b"), {"event": "login"}])
    assert count == 2
    assert (made.preset, made.allow) == (Preset.UPLOAD_ONLY, (OpClass.READLINK, OpClass.LIST))
    assert made.deny == (OpClass.MKDIR, OpClass.SETSTAT)
    assert rules(made) == [ASKING, "allow write, create, overwrite on /in/*", DENY]
    assert allows(made, put("/in/c"), put("/in/d/e"), put("/c"), got("/in/a")) == [True, False, False, False]


def test_who_only_downloads() -> None:
    made, _ = suggest([got("/out/x"), event("file.readdir", "/", outcome="observed")])
    assert made.preset is Preset.DOWNLOAD_ONLY
    assert rules(made) == [ASKING, "allow read on /out/*", DENY]


def test_relative_paths_are_below_the_home() -> None:
    made, _ = suggest([put("in/a")])
    assert {str(rule).rpartition(" ")[2] for rule in made.paths} == {"/**", "~/in/*"}
    for home in (None, b"/home/me"):
        assert allows(made, put("in/b"), put("b"), home=home) == [True, False]
    assert allows(made, put("/home/me/in/b"), home=b"/home/me") == [True]


@pytest.mark.parametrize(("one", "other"), [("/in/a", "b"), ("/a", "a"), ("a", "../b")])
def test_paths_of_several_forms_have_no_rules(one: str, other: str) -> None:
    assert suggest([put(one), put(other)])[0].paths == ()


def test_a_rename_has_enough_on_both_sides() -> None:
    """The tightest rules would allow more on the new name than on the old one."""
    traffic = [put("/tmp/a"), event("file.rename", "/tmp/a", "/out/a"), got("/out/a")]
    made, _ = suggest(traffic)
    assert all(allows(made, *traffic))
    assert {str(rule) for rule in made.paths[1:]} == {
        "allow read, write, create, overwrite, rename on /out/*",
        "allow read, write, create, overwrite, rename on /tmp/*",
        DENY,
    }


def test_many_directories_are_put_together() -> None:
    traffic = [put(f"/in/{number}/x/y") for number in range(100)]
    made, _ = suggest(traffic)
    assert rules(made) == [ASKING, "allow write, create, overwrite on /in/**", DENY]
    assert suggest([put(f"/{number}/x") for number in range(100)])[0].paths == ()


def test_what_is_too_long_for_a_rule_is_put_together() -> None:
    made, _ = suggest([put(f"/in/{'x' * 250}/{'y' * 250}/{'z' * 250}/{'u' * 250}/{'v' * 250}/a")])
    assert rules(made)[1].startswith("allow write, create, overwrite on /in/xxx")
    assert rules(made)[1].endswith("uuu/**")


def test_what_led_to_nothing_is_left_out() -> None:
    for lost in (
        event("file.remove", "/a", outcome="denied"),
        {**event("file.remove", "/a", outcome="failed"), "status": 3},
        {**event("file.opened", "/a", mode="r", outcome="failed"), "status": 2},
        event("directory.opened", "/a"),
        event("file.rename", "/a"),
        {"event": "file.remove", "outcome": "ok"},
        {"event": "session.ended"},
        {},
    ):
        assert request_of(lost) is None, lost
    exists = {**event("file.mkdir", "/a", outcome="failed"), "status": 4}
    assert request_of(exists) == Request(OPS[14], 0, (), (b"/a",))
    opened = Request(OPS[3], 0, (b"/a", 0, bytes(4)), (b"/a",), pflags=OpenFlag(0))
    assert request_of(event("file.opened", "/a")) == opened
    assert request_of({**event("file.closed", "/a", outcome="failed"), "status": 3}) == opened


def test_all_of_it_is_full() -> None:
    every = [
        event("file.closed", "/a", mode="rw"), event("file.remove", "/a"),
        event("file.rename", "/a", "/b"), event("file.mkdir", "/a"), event("file.rmdir", "/a"),
        event("file.setstat", "/a"), event("file.symlink", "/a", "/b"),
    ]  # fmt: skip
    made, _ = suggest(every)
    assert (made.preset, made.allow, made.deny) == (Preset.FULL, (), ())
    assert all(allows(made, *every))


def test_what_else_a_policy_says_stays() -> None:
    window = Window(access=WindowAccess.CLOSED)
    present = Policy(
        root="/p/{account}", windows=(window,), max_file_size=5, forbidden_names=("*.exe",), mode=Mode.OBSERVE,
        deny=(OpClass.READ,), ignore_case=True,
    )  # fmt: skip
    made, _ = suggest([put("/IN/a")], present)
    assert made == present.model_copy(
        update={"preset": made.preset, "allow": made.allow, "deny": made.deny, "paths": made.paths}
    )
    assert allows(made.model_copy(update={"windows": (), "max_file_size": None}), put("/in/b")) == [True]


def test_from_nothing_comes_what_asks_only() -> None:
    made, count = suggest([])
    assert count == 0
    assert made.classes == {OpClass.STAT, OpClass.OTHER, OpClass.LIST, OpClass.READLINK}
    assert made.paths == ()


ODD = ["*", "**", "a**b", "?", r"two\\", r"bad\xff", r"line\n", r"sign\u200b", "café", "[a]", "~", "..."]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str) -> None:
    traffic = [put(f"/in/{name}/f"), put(f"/{name}")]
    made, _ = suggest(traffic)
    assert made.paths
    assert all(allows(made, *traffic))


NAMES = st.sampled_from(["a", "b", "in", "out", "c d", "*", r"\xff", "\u00e9"])
DIRECTORIES = st.lists(NAMES, max_size=4)
PATHS = st.builds(lambda parts, name: posixpath.join("/", *parts, name), DIRECTORIES, NAMES)
FORMS = st.sampled_from([lambda path: path, lambda path: path, lambda path: path[1:]])
KINDS = st.sampled_from(
    ["remove", "mkdir", "rmdir", "setstat", "fsetstat", "rename", "posix-rename", "symlink", "hardlink", "copy-data",
     "lsetstat", "readlink", "stat"]
)  # fmt: skip
TWO = {"rename", "posix-rename", "symlink", "hardlink", "copy-data"}
EVENTS = st.one_of(
    st.builds(lambda form, path, mode: event("file.closed", form(path), mode=mode), FORMS, PATHS,
              st.sampled_from(["r", "w", "rw", ""])),
    st.builds(lambda form, path: event("file.mkdir", form(path)), FORMS, PATHS),
    st.builds(lambda form, kind, path, to: event(f"file.{kind}", form(path), form(to) if kind in TWO else None),
              FORMS, KINDS, PATHS, PATHS),
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.sampled_from([None, b"/", b"/home/me"]))
def test_all_that_it_was_made_from_is_allowed(traffic: list[Event], home: bytes | None) -> None:
    made, count = suggest(traffic)
    assert count == len(traffic)
    assert all(allows(made, *traffic, home=home))
    assert len(made.paths) <= MAX_RULES
    assert not made.paths or made.paths[-1].access is Access.DENY
    used = {each for rule in made.paths for each in rule.classes} | set(made.classes)
    assert used <= set(OpClass)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(put, PATHS), min_size=1, max_size=12))
def test_nothing_else_is_allowed(traffic: list[Event]) -> None:
    made, _ = suggest(traffic)
    elsewhere = [got(traffic[0]["path"]), event("file.remove", traffic[0]["path"]), put("/elsewhere/deep/down/x/y/z")]
    assert allows(made, *elsewhere) == [False, False, False]
