"""Told once for each step, in the metric at every look."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from usp import certificates, metrics, pki
from usp.certificates import Certificates, Found, expires, of_files
from usp.errors import UspError
from usp.status import CertificateStatus

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CA = pki.new_ca("ca", now=NOW)


def test_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaf = pki.issue(CA, now=NOW, dns=["x"], days=20)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(CA.cert + leaf.cert)
    bad.write_text("no certificate")
    found = of_files({"web.tls.cert": str(good), "web.tls.ca": str(bad), "other": str(tmp_path / "none")})
    assert found == (CertificateStatus(name="web.tls.cert", until=(NOW + timedelta(days=20)).timestamp()),)
    assert capsys.readouterr().err.count("certificate.unreadable") == 2
    with pytest.raises(UspError, match="not a certificate"):
        expires("garbage")


async def test_each_step_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    certificate = [CertificateStatus(name="told-once", until=100 * 86_400.0)]

    async def look() -> Found:
        return tuple(certificate)

    watched = Certificates(look, clock=lambda: now[0])
    told = []
    for day in (0, 69, 71, 72, 94, 94, 99.5, 101, 102):
        now[0] = day * 86_400
        await watched.look()
        lines = capsys.readouterr().err.splitlines()
        told.append([line.split()[1] for line in lines])
    assert told == [[], [], ["WARN"], [], ["WARN"], [], ["WARN"], ["ERROR"], []]
    line = 'usp_certificate_expiry_timestamp_seconds{certificate="told-once"} 8.64e+06'
    assert line in metrics.render().decode()
    certificate[0] = CertificateStatus(name="told-once", until=103 * 86_400.0)
    await watched.look()
    assert "certificate.expires" in capsys.readouterr().err  # renewed, but not for long
    certificate.clear()
    await watched.look()
    assert "told-once" not in metrics.render().decode()


async def test_it_goes_on_looking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    looks = []
    enough = asyncio.Event()

    async def look() -> Found:
        looks.append(1)
        if len(looks) == 1:
            raise UspError("database.unavailable")
        if len(looks) == 3:
            enough.set()
        return ()

    monkeypatch.setattr(certificates, "INTERVAL", 0.001)
    watching = asyncio.get_running_loop().create_task(Certificates(look).watch())
    await asyncio.wait_for(enough.wait(), 5)
    watching.cancel()
    assert "certificates.unknown" in capsys.readouterr().err
