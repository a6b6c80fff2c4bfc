from __future__ import annotations

import asyncio

import pytest

from usp import log
from usp.server import refusals
from usp.server.dispatch import Refusal
from usp.server.refusals import Refusals
from usp.settings import LogLevel


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "INTERVAL", 0.05)


async def test_one_line_at_once_and_then_sums(capsys: pytest.CaptureFixture[str]) -> None:
    told = Refusals()
    for _ in range(4):
        told.tell(Refusal.TUNNEL_DOWN, "partners", "192.0.2.1")
    told.tell(Refusal.BUSY, "partners", "192.0.2.1")
    first = capsys.readouterr().err.splitlines()
    assert [line.partition("connection.refused ")[2] for line in first] == [
        "code=tunnel.down listener=partners peer=192.0.2.1",
        "code=busy listener=partners peer=192.0.2.1",
    ]
    await asyncio.sleep(0.12)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("code=tunnel.down listener=partners times=3")
    await asyncio.sleep(0.1)
    told.tell(Refusal.TUNNEL_DOWN, "partners", "192.0.2.1")
    assert len(capsys.readouterr().err.splitlines()) == 1
    told.close()


async def test_strangers_leave_no_line_unless_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    told = Refusals()
    told.tell(Refusal.FILTER, "partners", "192.0.2.1")
    assert capsys.readouterr().err == ""
    log.set_level(LogLevel.DEBUG)
    try:
        told.tell(Refusal.FILTER, "partners", "192.0.2.1")
    finally:
        log.set_level(LogLevel.WARN)
    assert "ip_filter" in capsys.readouterr().err
    told.close()
