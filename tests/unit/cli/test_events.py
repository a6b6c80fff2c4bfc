"""The audit trail on the command line, over a stand-in manager; and chains verified, with and without one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.chain import Chain, Link
from usp.cli import events
from usp.cli.main import main

EVENT = {"number": 7, "at": "2026-01-01T00:00:00Z", "author": "bob", "peer": "192.0.2.1", "action": "login.failed",
         "target": "bob", "server": "", "listener": "", "session": "", "outcome": "", "detail": {}}  # fmt: skip
CLOSED = {
    **EVENT,
    "action": "file.closed",
    "target": "=1+1",
    "server": "dmz-1",
    "outcome": "ok",
    "detail": {"event": "file.closed", "path": "=1+1", "bytes_read": 5, "hash": "00"},
}


pytestmark = pytest.mark.usefixtures("unconfigured")


def usp(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=env, catch_exceptions=False)


def test_the_latest_with_what_matters(site: StandIn) -> None:
    site.answers["GET /events?limit=50&action=file."] = (200, {"items": [CLOSED], "next": None})
    shown = usp("events", "--action", "file.", env=site.env())
    assert shown.exit_code == 0
    assert "bytes_read=5" in shown.stdout
    assert "hash" not in shown.stdout
    as_json = usp("events", "--action", "file.", "--json", env=site.env())
    assert json.loads(as_json.stdout) == {"items": [CLOSED]}


def test_every_filter_is_asked_for(site: StandIn) -> None:
    asked = "account=a&server=s&listener=l&path=%2Fp&outcome=ok&session=1&source=server&to=T2&from=T1"
    site.answers[f"GET /events?limit=50&{asked}"] = (200, {"items": [], "next": None})
    shown = usp(
        "events", "--account", "a", "--server", "s", "--listener", "l", "--path", "/p", "--outcome", "ok",
        "--session", "1", "--source", "server", "--from", "T1", "--to", "T2", env=site.env(),
    )  # fmt: skip
    assert shown.stdout == "nothing has happened\n"


def test_events_of_several_pages(site: StandIn) -> None:
    site.answers["GET /events?limit=3"] = (200, {"items": [EVENT, EVENT], "next": 6})
    site.answers["GET /events?limit=1&after=6"] = (200, {"items": [EVENT], "next": 5})
    result = usp("events", "--limit", "3", "--json", env=site.env())
    assert len(json.loads(result.stdout)["items"]) == 3


def test_events_as_they_come(site: StandIn) -> None:
    stream = f": hello\n\nid: 7\nevent: login.failed\ndata: {json.dumps(EVENT)}\n\n"
    site.answers["GET /events/stream?action=login."] = (200, stream.encode())
    shown = usp("events", "--follow", "--action", "login.", env=site.env()).stdout
    assert shown == "2026-01-01T00:00:00Z  bob  192.0.2.1  login.failed  bob  -  -  \n"
    assert json.loads(usp("events", "--follow", "--action", "login.", "--json", env=site.env()).stdout) == EVENT
    site.answers["GET /events/stream"] = (403, {"code": "auth.address", "detail": "not from there", "errors": []})
    assert usp("events", "--follow", env=site.env()).exit_code == 1
    assert usp("events", "--follow", "--csv", env=site.env()).exit_code == 2


def test_a_spreadsheet_gets_no_formulas(site: StandIn) -> None:
    site.answers["GET /events?limit=50"] = (200, {"items": [CLOSED], "next": None})
    (row,) = csv.DictReader(io.StringIO(usp("events", "--csv", env=site.env()).stdout))
    assert (row["target"], row["bytes_read"], row["number"]) == ("'=1+1", "5", "7")
    assert json.loads(row["detail"]) == CLOSED["detail"]


# --- verifying ---


def lines(count: int, server: str = "dmz-1") -> list[bytes]:
    chain = Chain(Link(server, "00000000000000aa"))
    return [chain.link(f'{{"event":"e{number}","rate":1.5}}') for number in range(count)]


def written(path: Path, told: list[bytes]) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in told))
    return str(path)


def test_files_are_verified_without_a_manager(tmp_path: Path) -> None:
    told = lines(5)
    old, new = written(tmp_path / "audit.1", told[:2]), written(tmp_path / "audit", told[2:])
    right = usp("events", "verify", old, new)
    assert (right.exit_code, right.stderr) == (0, "")
    assert right.stdout.endswith("5 lines are as they were written\n")
    wrong = usp("events", "verify", old, written(tmp_path / "audit", [told[2], told[4]]))
    assert wrong.exit_code == 1
    assert f"{tmp_path}/audit:2: a line is missing before it (seq 4)\n" in wrong.stderr
    assert "1 of 4 lines are not as they were written [audit.chain]" in wrong.stderr
    found = usp("events", "verify", "--json", new)
    document = json.loads(found.stdout)
    assert (found.exit_code, document["wrong"]) == (1, 1)
    assert document["findings"] == [{"place": f"{new}:2", "wrong": "a line is missing before it (seq 4)"}]
    assert json.loads(usp("events", "verify", "--json", old).stdout)["wrong"] == 0


def test_many_findings_are_counted(tmp_path: Path) -> None:
    result = usp("events", "verify", written(tmp_path / "audit", [b"{}"] * 30))
    assert result.stderr.count("this is no line") == events.FINDINGS
    assert "30 of 30 lines" in result.stderr


def test_nothing_named_is_wrong_usage() -> None:
    assert usp("events", "verify").exit_code == 2


def stored(site: StandIn, told: list[bytes], seq: int, hash: str) -> None:
    items = [{**EVENT, "number": number, "detail": json.loads(line)} for number, line in enumerate(told, 1)]
    site.answers["GET /events?limit=1000&server=dmz-1&order=oldest"] = (200, {"items": items[:2], "next": 2})
    site.answers["GET /events?limit=1000&server=dmz-1&order=oldest&after=2"] = (200, {"items": items[2:], "next": None})
    chain: dict[str, Any] = {"server": "dmz-1", "chain": "00000000000000aa", "seq": seq, "hash": hash}
    site.answers["GET /events/chains?server=dmz-1"] = (200, {"items": [chain]})


def test_what_managers_have_is_verified(site: StandIn) -> None:
    told = lines(4)
    tip = json.loads(told[-1])["hash"]
    stored(site, told, 4, tip)
    assert usp("events", "verify", "--server", "dmz-1", env=site.env()).exit_code == 0
    stored(site, told[:1] + told[2:], 4, tip)
    assert "event 2 (seq 3): a line is missing" in usp("events", "verify", "--server", "dmz-1", env=site.env()).stderr


def test_a_file_is_compared_with_what_managers_have(site: StandIn, tmp_path: Path) -> None:
    told = lines(4)
    file = written(tmp_path / "audit", told)
    stored(site, told, 4, json.loads(told[-1])["hash"])
    arguments = ("events", "verify", "--server", "dmz-1")
    assert usp(*arguments, file, env=site.env()).exit_code == 0
    cut = usp(*arguments, written(tmp_path / "cut", told[:3]), env=site.env())
    assert "lines are missing at its end" in cut.stderr
    stored(site, told, 4, "0" * 64)
    assert "the chain was written anew" in usp(*arguments, file, env=site.env()).stderr
