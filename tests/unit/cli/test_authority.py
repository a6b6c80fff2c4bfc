"""A CA in a directory, and what it issues, as daemons would use it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from usp import pki, tls
from usp.cli.main import main


def usp(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["pki", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pki"
    assert usp("init", "--dir", made, "--name", "Our CA").exit_code == 0
    return made


def test_a_ca_is_made_once(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {"ca.crt": 0o600, "ca.key": 0o600}
    before = (folder / "ca.key").read_text()
    again = usp("init", "--dir", folder)
    assert again.exit_code == 1
    assert "ca.key exists and was left as it is" in again.stderr
    assert (folder / "ca.key").read_text() == before


def test_what_is_issued_serves_mutual_tls(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "etc"
    out.mkdir()
    assert "usp://server/s-1" in usp("issue", "server", "s-1", "--dir", folder, "--out", out).stdout
    assert usp("issue", "manager", "m", "--ip", "10.0.0.1", "--dir", folder).exit_code == 0
    assert usp("issue", "web", "manager.example", "--dir", folder).exit_code == 0
    assert pki.names((folder / "manager.example.crt").read_text()) == (None, ("manager.example",), ())
    assert pki.names((folder / "m.crt").read_text()) == ("usp://manager/m", (), ("10.0.0.1",))
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    context = tls.server_context(str(out / "s-1.crt"), str(out / "s-1.key"), str(folder / "ca.crt"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    texts = [(folder / name).read_text() for name in ("ca.crt", "m.crt", "m.key")]
    tls.client_context(*texts, peer=tls.server_uri("s-1"))


def test_nothing_is_overwritten(folder: Path) -> None:
    assert usp("issue", "server", "s", "--dir", folder).exit_code == 0
    before = (folder / "s.crt").read_text()
    again = usp("issue", "server", "s", "--dir", folder)
    assert again.exit_code == 1
    assert "renew" in again.stderr
    assert (folder / "s.crt").read_text() == before


def test_renewed_with_the_same_names_and_key_or_another(folder: Path) -> None:
    usp("issue", "server", "s", "--dns", "s.example", "--days", "5", "--dir", folder)
    cert, key = folder / "s.crt", folder / "s.key"
    old_cert, old_key = cert.read_text(), key.read_text()
    cert.chmod(0o640)
    told = usp("renew", cert, "--dir", folder).stdout
    assert "replaced; valid until" in told
    assert (pki.names(cert.read_text()), key.read_text()) == (pki.names(old_cert), old_key)
    assert cert.read_text() != old_cert
    assert cert.stat().st_mode & 0o777 == 0o640
    tls.server_context(str(cert), str(key))
    assert "and its key" in usp("renew", cert, "--new-key", "--dir", folder).stdout
    assert key.read_text() != old_key
    tls.server_context(str(cert), str(key))
    assert sorted(file.name for file in folder.iterdir()) == ["ca.crt", "ca.key", "s.crt", "s.key"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["issue", "server", "no name"], "is no name of an item"),
        (["issue", "web", "x", "--ip", "nothing"], "cannot be made"),
        (["issue", "server", "s", "--out", "/nowhere/at/all"], "/nowhere/at/all/s.key: No such file"),
        (["renew", "/nowhere.crt"], "cannot read /nowhere.crt"),
    ],
)
def test_failures_say_what_is_wrong(folder: Path, arguments: list[str], words: str) -> None:
    done = usp(*arguments, "--dir", folder)
    assert done.exit_code == 1
    assert words in done.stderr


def test_without_a_ca_and_with_one_that_others_can_read(folder: Path, tmp_path: Path) -> None:
    assert "there is no CA in" in usp("issue", "web", "x", "--dir", tmp_path / "empty").stderr
    (folder / "ca.key").chmod(0o644)
    assert "is readable by others" in usp("issue", "web", "x", "--dir", folder).stderr
