"""A manager's stand-in for the commands' tests: one for each file, asked nothing yet when a test begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.stand_in import StandIn, stand_in


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        yield found


@pytest.fixture
def site(running: StandIn) -> StandIn:
    running.answers.clear()
    running.asked.clear()
    running.bearers.clear()
    return running


@pytest.fixture
def unconfigured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a login of before says which manager is meant."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for variable in ("USP_URL", "USP_CA", "USP_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
