"""`usp error` says what the table says, and Tab offers the codes."""

from __future__ import annotations

from click.testing import CliRunner

from usp.cli.main import main
from usp.errors import CODES


def test_a_code_is_explained() -> None:
    done = CliRunner().invoke(main, ["error", "tunnel.not_allowed"])
    known = CODES["tunnel.not_allowed"]
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"means:  {known.meaning}",
        f"cause:  {known.cause}",
        f"remedy: {known.remedy}",
    ]


def test_an_unknown_code_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["error", "tunnel.downn"])
    assert done.exit_code == 2
    assert "tunnel.downn" in done.stderr
