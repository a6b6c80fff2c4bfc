"""`usp-manager db`: history, downgrade, copies from one file to another. (tests/contract does other engines.)"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place


@pytest.fixture
def ready(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    assert place.run("db", "upgrade").exit_code == 0
    return place


def test_history_and_downgrade(ready: Place) -> None:
    everything = ready.run("db", "history").stdout.splitlines()
    assert everything[0].split()[:2] == ["0001", "applied"]
    assert ready.run("db", "downgrade", "0002").exit_code == 1, "asked, and nobody said yes"
    assert ready.run("db", "history").stdout.splitlines() == everything
    assert "revision 0002" in ready.run("db", "downgrade", "0002", "--yes").stdout
    assert [line.split()[1] for line in ready.run("db", "history").stdout.splitlines()][:3] == ["applied"] * 2 + ["-"]
    unknown = ready.run("db", "downgrade", "0000", "--yes")
    assert (unknown.exit_code, "no revision 0000" in unknown.stderr) == (1, True)


def test_a_copy_is_a_whole_database(ready: Place) -> None:
    ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    other = ready.folder / "other.db"
    done = ready.run("db", "copy", "--to", f"sqlite:///{other}")
    assert done.exit_code == 0
    assert "1  usp_user" in done.stdout
    with sqlite3.connect(other) as connection:
        assert connection.execute("SELECT name FROM usp_user").fetchall() == [("admin",)]
    connection.close()
    again = ready.run("db", "copy", "--to", f"sqlite:///{other}")
    assert again.exit_code == 1
    assert "not empty" in again.stderr
    assert "usp_user" in again.stderr


def test_what_copy_cannot_do_is_said(ready: Place) -> None:
    assert ready.run("db", "copy").exit_code == 2
    url = "postgresql://u:hunter2@127.0.0.1:1/x?connect_timeout=0.5"
    shown = ready.run("db", "copy", "--to", url)
    assert shown.exit_code == 2
    assert "seen by everybody" in shown.stderr
    file = ready.folder / "url"
    file.write_text(f"{url}\n")
    assert "readable by others" in ready.run("db", "copy", "--to", f"@{file}").stderr
    file.chmod(0o600)
    told = ready.run("db", "copy", "--to", f"@{file}")
    assert told.exit_code == 1
    assert "does not answer" in told.stderr
    assert "hunter2" not in shown.output + told.output
    wrong = ready.run("db", "copy", "--to", "mysql://u:hunter2@db/x")
    assert wrong.exit_code == 2
    assert "hunter2" not in wrong.output


def test_a_backup_and_what_becomes_of_it(ready: Place, tmp_path: Path) -> None:
    ready.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    file = tmp_path / "backup.db"
    done = ready.run("db", "backup", str(file))
    assert (done.exit_code, "to be kept elsewhere" in done.stdout) == (0, True)
    again = ready.run("db", "backup", str(file))
    assert (again.exit_code, "was left as it is" in again.stderr) == (1, True)
    refused = ready.run("db", "restore", str(file))
    assert (refused.exit_code, "is not empty" in refused.stderr) == (1, True)
