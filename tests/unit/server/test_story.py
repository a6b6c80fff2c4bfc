"""A session's story: who, in every fact; and what is told once."""

from __future__ import annotations

from pathlib import Path

import pytest

from usp import log, metrics
from usp.scan import Finding
from usp.server.audit import JsonValue
from usp.server.messages import Partner
from usp.server.story import Story, names_of
from usp.settings import LogSettings
from usp.sftp.records import Changed, Denied, FileClosed, Opened, Scanned, Spent
from usp.status import Outcome

NAMES = {"session": "s1", "listener": "partners", "peer": "192.0.2.1:5"}


class Told(list[dict[str, JsonValue]]):
    def story(self) -> Story:
        return Story(self.append, "partners", NAMES)


def test_every_fact_says_who() -> None:
    told = Told()
    story = told.story()
    story.fact("session.started")
    story.named("")
    story.describe(node="main")
    story.named("böb\n\udc80")
    story.records([Changed("remove", (b"/a",), 0), Denied("mkdir", (b"/d",), 3, "no")])
    user = {"username": "böb\\n\\\\udc80"}
    assert told[0] == {**NAMES, "event": "session.started"}
    assert told[1] == {**NAMES, "node": "main", **user, "event": "file.remove", "path": "/a", "outcome": "ok"}
    assert told[2]["outcome"] == "denied"


def test_verdicts_are_counted() -> None:
    counter = metrics.SCANS_TOTAL.labels("partners", "infected")
    before = counter._value.get()
    Told().story().records([Scanned(b"/a", Finding.INFECTED, "Eicar", 68, passed=False)])
    assert counter._value.get() == before + 1


def test_a_refused_request_is_told_once_for_each_kind() -> None:
    told = Told()
    story = told.story()
    for kind in ("shell", "exec", "shell"):
        story.refused(kind)
    assert [(fact["event"], fact["kind"]) for fact in told] == [
        ("request.refused", "shell"),
        ("request.refused", "exec"),
    ]


def test_login_and_end_say_which_target() -> None:
    told = Told()
    story = told.story()
    story.login("denied", reason="password")
    story.served_by(target="t", address="t:22")
    story.login("ok")
    story.ended(Outcome.COMPLETED, 5, 6)
    assert "target" not in told[0]
    assert (told[1]["target"], told[1]["address"], told[1]["outcome"]) == ("t", "t:22", "ok")
    assert (told[2]["target"], told[2]["outcome"], told[2]["bytes_in"], told[2]["bytes_out"]) == (
        "t",
        "completed",
        5,
        6,
    )
    assert isinstance(told[2]["seconds"], float)


def test_a_file_has_one_event_and_an_open_only_if_it_failed() -> None:
    told = Told()
    story = told.story()
    story.at_target = lambda path: b"/srv" + path
    spent = Spent(3.0, 2.0, 0.0, 1.0, 0.0)
    before = metrics.TRANSFER_SECONDS_TOTAL.labels("partners", "partner")._value.get()
    story.records(
        [
            Opened(b"/d", True, False, False, 0),
            Opened(b"/a", False, True, False, 0),
            Opened(b"/b", False, True, False, 2, b"none"),
            FileClosed(b"/a", True, False, 5, 0, 0, 0, spent=spent),
        ]
    )
    assert [(fact["event"], fact["sent"]) for fact in told] == [("file.opened", "/srv/b"), ("file.closed", "/srv/a")]
    assert metrics.TRANSFER_SECONDS_TOTAL.labels("partners", "partner")._value.get() == before + 2.0


def test_a_probe_is_no_story(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    told.story().ended(Outcome.PROBE, 0, 0)
    assert told == []


def test_the_log_is_told_the_names_of_the_audit_log(tmp_path: Path) -> None:
    ticket = Partner(session="s1", listener="id", node="id", version=7, peer_host="192.0.2.1", peer_port=5)
    path = tmp_path / "log"
    log.setup(LogSettings(path=str(path)), "usp-test")
    log.context(server="dmz-1", configuration=8)
    told: list[dict[str, JsonValue]] = []
    story = Story(told.append, "partners", names_of(ticket, "partners"))
    story.named("acme")
    story.ended(Outcome.COMPLETED, 1, 2)
    log.shutdown()
    line = path.read_text()
    who = {
        "session": "s1",
        "listener": "partners",
        "peer": "192.0.2.1:5",
        "configuration": 7,
        "username": "acme",
    }
    said = {**who, "server": "dmz-1", "outcome": "completed"}
    assert {f"{name}={value}" for name, value in said.items()} <= set(line.split())
    assert told[-1].items() >= who.items()
