"""What is wrong with the blocks that say what is told, and whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from usp.settings import SyslogSettings, TracesSettings


def test_without_the_extra_it_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.telemetry.find_spec", lambda name: None)
    settings = TracesSettings(endpoint="https://collector:4318/v1/traces")
    assert [str(problem) for problem in settings.file_problems()] == [
        "endpoint: needs the extra: pip install 'usp[otel]'"
    ]
    assert list(TracesSettings().file_problems()) == []


def test_what_does_not_go_together(tmp_path: Path) -> None:
    half = SyslogSettings(host="log.example", cert="/cert")
    assert [str(problem) for problem in half.problems()] == ["key: cert and key go together"]
    plain = SyslogSettings(host="log.example", tls=False, ca="/ca")
    assert [problem.loc for problem in plain.problems()] == [("tls",)]
    missing = SyslogSettings(host="log.example", ca=str(tmp_path / "missing"))
    assert [problem.loc for problem in missing.file_problems()] == [("ca",)]
    away = TracesSettings(endpoint="http://collector:4318/v1/traces", ca=str(tmp_path / "missing"))
    assert [problem.loc for problem in away.file_problems()] == [("ca",)]
