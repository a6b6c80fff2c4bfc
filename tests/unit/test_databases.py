"""The `database` block, and URLs for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from usp.configfile import load, redacted
from usp.databases import ARGUMENTS, DatabaseEngine, DatabaseSettings, from_argument, from_url
from usp.errors import UspError
from usp.model import Model
from usp.secret import Secret


def problems(url: str) -> list[str]:
    with pytest.raises(UspError) as caught:
        from_url(url)
    assert caught.value.code == "settings.invalid"
    assert "hunter2" not in str(caught.value)
    return [str(problem) for problem in caught.value.problems] or [caught.value.message]


def test_every_argument_belongs_to_an_engine() -> None:
    assert {"engine", *set().union(*ARGUMENTS.values())} == set(DatabaseSettings.model_fields)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("sqlite:////var/usp.db", {"engine": DatabaseEngine.SQLITE, "path": "/var/usp.db"}),
        ("sqlite:///usp.db", {"path": "usp.db"}),
        (
            "postgresql://ann:p%40ss@db:6432/gateway?tls=false&pool_size=3&statement_timeout=2.5",
            {"host": "db", "port": 6432, "user": "ann", "name": "gateway", "pool_size": 3, "tls": False},
        ),
        ("postgresql://usp@/?host=/run/postgresql", {"host": "/run/postgresql", "name": "usp", "password": None}),
        ("postgresql://u:p@a/?host=a,b", {"host": "a,b"}),
        ("oracle://u:p@db/USP", {"engine": DatabaseEngine.ORACLE, "service_name": "USP", "effective_port": 2484}),
        ("oracle://u:p@127.0.0.1/USP", {"effective_port": 1521, "encrypted": False}),
        ("oracle://u:p@/?dsn=(DESCRIPTION=(ADDRESS=))", {"dsn": "(DESCRIPTION=(ADDRESS=))"}),
    ],
)
def test_urls(url: str, fields: dict[str, object]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in fields} == fields


def test_a_password_comes_from_the_url_or_from_a_file_of_its_owner(tmp_path: Path) -> None:
    assert from_url("postgresql://u:p%40ss@db/x").password_text() == "p@ss"
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    assert "readable by others" in problems(f"postgresql://u@db/x?password_file={file}")[0]
    file.chmod(0o600)
    assert from_url(f"postgresql://u@db/x?password_file={file}").password_text() == "hunter2"
    assert from_url("postgresql://u@/x?host=/run/postgresql").password_text() is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@db/x",
        "postgresql://u@db/x?password=hunter2",
        "oracle://u@db/x?password_file={file}&wallet={folder}&wallet_password=hunter2",
    ],
)
def test_no_secret_is_taken_from_a_command_line(url: str, tmp_path: Path) -> None:
    for name in ("password", "ewallet.pem"):
        (tmp_path / name).touch(mode=0o600)
    url = url.format(file=tmp_path / "password", folder=tmp_path)
    with pytest.raises(UspError) as caught:
        from_argument(url)
    assert caught.value.code == "settings.invalid"
    assert "seen by everybody" in caught.value.message
    assert "hunter2" not in str(caught.value)
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    with pytest.raises(UspError, match="readable by others"):
        from_argument(f"@{file}")
    file.chmod(0o600)
    assert from_argument(f"@{file}") == from_url(url)


def test_a_url_without_a_secret_may_be_on_a_command_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    for url in ("sqlite:///x.db", f"postgresql://u@db/x?password_file={file}"):
        assert from_argument(url) == from_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2@db/x", "engine"),
        ("postgresql://u:hunter2@db:port/x", "not the URL of a database"),
        ("postgresql://u:hunter2@/x", 'host: is required with engine = "postgresql"'),
        ("postgresql://db/x?password=hunter2", "user: is required"),
        ("postgresql://u@db/x", "password: or password_file is required"),
        ("oracle://u@db/x", "password: or password_file is required"),
        ("postgresql://u:hunter2@db/x?password_file=/nowhere", "password_file: either this or password"),
        ("postgresql://u:hunter2@db/x?wallet=/w", 'wallet: means nothing with engine = "postgresql"'),
        ("sqlite:///x.db?host=db", 'host: means nothing with engine = "sqlite"'),
        ("postgresql://u:hunter2@db/x?tls=false&ca=/ca.pem", "ca: means nothing with tls = false"),
        ("postgresql://u:hunter2@db/x?tls=maybe", "tls"),
        ("postgresql://u:hunter2@db/x?speed=9", "speed"),
        ("postgresql://u:hunter2@db/x?ca=/nowhere/ca.pem", "ca: cannot read /nowhere/ca.pem"),
        ("oracle://u:hunter2@db/", "service_name: or dsn is required"),
        ("oracle://u:hunter2@db/x?dsn=y", "host: the dsn says it already"),
        ("oracle://u:hunter2@a/x?host=a,b", "host: is one host"),
        ("oracle://u:hunter2@a/x?host=/tmp", "host: must be a name or an address"),
        ("oracle://u:hunter2@a/x?wallet_password=hunter2", "wallet_password: there is no wallet"),
        ("oracle://u:hunter2@a/x?wallet=/nowhere", "wallet: cannot read /nowhere/ewallet.pem"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(url: str, said: str) -> None:
    assert any(said in problem for problem in problems(url))


@pytest.mark.parametrize(
    ("host", "encrypted"),
    [("db", True), ("10.0.0.1", True), ("localhost", False), ("127.0.0.9", False), ("/run/pg", False)],
)
def test_only_this_machine_is_spoken_to_in_clear(host: str, encrypted: bool) -> None:
    settings = DatabaseSettings(engine=DatabaseEngine.POSTGRESQL, host=host, user="u", password=Secret("p"))
    assert settings.encrypted is encrypted
    assert settings.model_copy(update={"tls": False}).encrypted is False
    assert settings.model_copy(update={"host": f"{host},10.0.0.2"}).encrypted is True


def test_messages_say_which_database_and_no_secret() -> None:
    assert str(from_url("postgresql://u:hunter2@db/x")) == "postgresql://u@db/x"
    assert str(from_url("oracle://u:hunter2@/?dsn=z")) == "oracle://u@dsn/"
    assert str(from_url("sqlite:///x.db")) == "x.db"


class Settings(Model):
    database: DatabaseSettings


def test_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "f.hcl"
    file.write_text('database {\n  engine = "oracle"\n  host = "db"\n  service_name = "USP"\n  user = "usp"\n}\n')
    with pytest.raises(UspError) as caught:
        load(Settings, file, {})
    assert str(caught.value.problems[0]) == f"{file}:1:1: database.password: or password_file is required"
    settings = load(Settings, file, {"USP_DATABASE__PASSWORD": "hunter2", "USP_DATABASE__TLS": "false"})
    assert (settings.database.password_text(), settings.database.encrypted) == ("hunter2", False)
    assert "hunter2" not in redacted(settings)
    assert 'password = "***"' in redacted(settings)
    with pytest.raises(UspError, match="true or false"):
        load(Settings, file, {"USP_DATABASE__PASSWORD": "hunter2", "USP_DATABASE__TLS": "yes"})
