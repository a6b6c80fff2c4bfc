"""The units of the packages: what they start is there, and they give the daemons little. `make e2e-long` builds a deb
and has packaging/trial.py try it in a clean root, a layer over this machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.e2e.suite import ROOT

pytestmark = pytest.mark.once
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))
PYTHON = "/usr/bin/python3.11"
EXPOSURE = 20
"""Tenths: systemd-analyze calls up to 2.0 well protected."""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_what_the_package_has(unit: Path) -> None:
    text = unit.read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    program, option, config = start.split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert program == f"/opt/udmg/venv/bin/{unit.stem}"
    assert unit.stem in scripts
    assert option == "-config"
    assert f"dst: {config}, type: config|noreplace" in (ROOT / "packaging" / "nfpm.yaml").read_text()
    assert (ROOT / "etc" / Path(config).name).exists()
    for line in ("Type=notify", "User=usp", "ExecReload=/bin/kill -HUP $MAINPID", "LimitCORE=0", "NoNewPrivileges=yes"):
        assert line in text.splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_well_protected(unit: Path) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert "Unknown" not in done.stderr


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0 or not Path(PYTHON).exists(), reason="needs root, and Debian's Python 3.11")
def test_a_deb_in_a_clean_root(tmp_path: Path) -> None:
    """Built, installed, started by the units' ExecStart as usp, a transfer, removed, purged."""
    built = subprocess.run(
        [sys.executable, "packaging/build.py", "--python", PYTHON, "--out", str(tmp_path), "--formats", "deb"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    (deb,) = tmp_path.glob("usp_*.deb")
    trial = [sys.executable, "packaging/trial.py", str(deb)]
    done = subprocess.run(trial, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "a transfer of 3 MB passed" in done.stdout
    for unit in UNITS:
        assert f"{unit.stem}-1 runs as usp" in done.stdout
    assert done.stdout.splitlines()[-1] == "ok"
