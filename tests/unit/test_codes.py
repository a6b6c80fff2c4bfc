"""The table of codes is well formed, and what it tells to do can be done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from usp.cli.main import main as usp
from usp.codes import CODES, Kind
from usp.manager.main import main as manager
from usp.settings import ClientSettings, ManagerSettings, ServerSettings

DOCS = Path(__file__).parents[2] / "docs"
PROGRAMS: Mapping[str, click.Group] = {"usp": usp, "usp-manager": manager}


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_dotted_and_says_what_why_and_what_to_do(code: str) -> None:
    kind, *texts = CODES[code]
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", code)
    assert isinstance(kind, Kind)
    for text in texts:
        assert text
        assert not text.endswith(".")
        assert "|" not in text, "it is a cell of a table"
    assert len(set(texts)) == 3


def test_every_kind_is_used() -> None:
    assert {code.kind for code in CODES.values()} == set(Kind)


def _told(pattern: str) -> set[str]:
    return {found for code in CODES.values() for found in re.findall(pattern, f"{code.cause} {code.remedy}")}


def test_every_command_that_is_told_exists() -> None:
    told = _told(r"`((?:usp|usp-manager) [^`]+)`")
    assert len(told) > 10
    for line in told:
        program, *words = line.split()
        command: click.Command = PROGRAMS[program]
        for word in words:
            if isinstance(command, click.Group):
                assert word in command.commands, line
                command = command.commands[word]
            elif word.startswith("--"):
                assert any(word in parameter.opts for parameter in command.params), line


def test_every_page_that_is_told_exists() -> None:
    told = _told(r"\b([\w-]+\.md)\b")
    assert told
    assert {page for page in told if not (DOCS / page).exists()} == set()


def test_every_argument_of_a_file_that_is_told_exists() -> None:
    blocks = {
        name: field.annotation
        for model in (ServerSettings, ClientSettings, ManagerSettings)
        for name, field in model.model_fields.items()
    }
    for told in ("encryption.kek", "tunnel.host_key"):
        assert any(f"`{told}`" in text or f"`{told}" in text for code in CODES.values() for text in code[1:]), told
        block, _, argument = told.partition(".")
        assert argument in getattr(blocks[block], "model_fields", {}), told
