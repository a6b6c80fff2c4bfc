"""Shell completion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tests.unit.cli.stand_in import StandIn
from usp.cli import shell
from usp.cli.main import connect, main


@pytest.fixture
def site(site: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    for name, value in site.env().items():
        monkeypatch.setenv(name, value)
    return site


def offered(*words: str) -> list[str]:
    *before, incomplete = words
    completions = ShellComplete(main, {}, "usp", shell.VARIABLE).get_completions(before, incomplete)
    return [item.value for item in completions]


@pytest.mark.parametrize("name", shell.SHELLS)
def test_a_script_for_each_shell(name: str) -> None:
    result = CliRunner().invoke(main, ["completion", name], env={"USP_TOKEN": ""})
    assert result.exit_code == 0, "it needs neither a manager nor a token"
    assert f"{shell.VARIABLE}={name}_complete" in result.stdout.replace("env ", "")
    binary = shutil.which(name)
    if binary and name != "zsh":
        subprocess.run([binary, "-n"], input=result.stdout, text=True, check=True)


def test_other_shells() -> None:
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2


def test_commands_and_kinds() -> None:
    assert {"status", "push", "events"} <= set(offered(""))
    assert offered("get", "p") == ["private-keys", "public-keys", "proxy-servers", "proxy-clients"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["get", "rules", "pa"], "rules"),
        (["status", "pa"], "proxy-servers"),
        (["start", "pa"], "deployments"),
        (["explain", "--listener", "pa"], "listeners"),
    ],
)
def test_names(site: StandIn, words: list[str], kind: str) -> None:
    items = [{"name": "partners", "description": ""}, {"name": "partners-2", "description": "more"}]
    site.answers[f"GET /items/{kind}?name=pa%2A&limit=100"] = (200, {"items": items, "next": None})
    assert offered(*words) == ["partners", "partners-2"]


def test_nothing_is_said_where_nothing_is_known(site: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered("get", "ducks", "x") == []
    assert offered("--token-file", str(tmp_path / "missing"), "status", "x") == []
    (tmp_path / "token").write_text("usp_token\n")
    site.answers["GET /items/proxy-servers?name=x%2A&limit=100"] = (200, {"items": [{"name": "x1"}]})
    assert offered("--token-file", str(tmp_path / "token"), "status", "x") == ["x1"]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("USP_URL", "nonsense")
    assert offered("status", "x") == []


def test_parameters_that_name_nothing_are_left_alone() -> None:
    @click.command()
    @click.option("--name")
    def other(name: str) -> None: ...

    (option,) = shell.complete(other, connect).params
    assert option.shell_complete(click.Context(other), "x") == []
