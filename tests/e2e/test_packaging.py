"""The units of the packages: what they start is there, and they give the daemons little. `make e2e-long` builds a deb
and has packaging/trial.py try it in a clean root, a layer over this machine's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

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
    if unit.stem == "usp-server":  # it has workers, whose end must not be its own
        assert "OOMPolicy=continue" in text.splitlines()


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


def test_the_container_files_start_what_the_package_has() -> None:
    """They are read; packaging/containers/trial.sh is what runs them, where there is an engine."""
    folder = ROOT / "packaging" / "containers"
    files = {file.stem: file.read_text() for file in folder.glob("usp-*.Containerfile")}
    assert set(files) == {unit.stem for unit in UNITS}
    for daemon, text in files.items():
        lines = dict(line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
        assert json.loads(lines["ENTRYPOINT"]) == [f"/opt/udmg/venv/bin/{daemon}"]
        assert json.loads(lines["CMD"]) == ["-config", f"/opt/udmg/etc/{daemon}.hcl"]
        assert lines["USER"] == "usp"
        assert lines["COPY"].split()[0] == "dist/usp_*_amd64.deb"


def test_the_compose_file_keeps_the_dmz_out_of_the_lan() -> None:
    folder = ROOT / "packaging" / "containers"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {unit.stem for unit in UNITS} | {"target"}
    for name, service in services.items():
        context = folder / service["build"]["context"]
        assert (context / service["build"]["dockerfile"]).resolve() == folder / f"{name}.Containerfile"
        assert set(service["networks"]) <= set(compose["networks"])
        own = f"./trial/{name.removeprefix('usp-')}"
        assert all(volume.startswith(own) for volume in service["volumes"]), "nobody has another's keys"
        if name != "target":
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"] is True
            assert "no-new-privileges:true" in service["security_opt"]
    assert "lan" not in services["usp-server"]["networks"]
    assert services["target"]["networks"] == ["lan"]
    assert compose["networks"]["lan"] == {"internal": True}
