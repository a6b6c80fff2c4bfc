"""What a release is made of: `make supply-chain` writes it into dist/supply-chain/.

    usp-*.whl            the wheel; built twice, and it must be the same file both times
    constraints.txt      every package that it needs, by version and SHA-256: `pip install --require-hashes -r`
    sbom.cdx.json        the software bill of materials (CycloneDX), as installed from those hashes
    licences.md          every package's licence
    audit.json           known vulnerabilities of them, or why nobody could be asked

Nothing of it is in the repository, because versions and hashes are a release's. `--advisories FILE` takes an audit that
was made elsewhere (by pip-audit, in JSON) for a host that has no way to the advisories: what it says of other versions
than these does not count, and what it does not know is told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
EXTRAS: Final = "manager,cli"
RECIPROCAL: Final = ("Eclipse Public License", "EPL", "GPL", "MPL", "Mozilla")
"""Licences that ask for something when the package itself is changed: they are used as they are."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "supply-chain")
    parser.add_argument("--advisories", type=Path, help="an audit that was made elsewhere")
    parser.add_argument("--offline", action="store_true", help="go on where nobody can be asked for advisories")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wheel = reproduced(options.out)
    constraints = options.out / "constraints.txt"
    constraints.write_text(pinned(wheel))
    with tempfile.TemporaryDirectory(prefix="usp-supply-chain-") as folder:
        python = installed(Path(folder), wheel, constraints)
        bill(python, options.out / "sbom.cdx.json")
        licences(python, options.out / "licences.md")
    wrong = audit(constraints, options.out / "audit.json", options.advisories)
    print(wrong)
    return 0 if wrong.startswith(("no known", "NOT AUDITED") if options.offline else "no known") else 1


def reproduced(out: Path) -> Path:
    """The wheel, if two builds of it do not differ in a byte."""
    made = [build(out / number) for number in ("first", "second")]
    sums = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in made]
    if sums[0] != sums[1]:
        sys.exit(f"the wheel is not reproducible: {sums[0]} and {sums[1]}")
    wheel = made[0].replace(out / made[0].name)
    for folder in (out / "first", out / "second"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    print(f"{wheel.name}: {sums[0]}, twice")
    return wheel


def build(folder: Path) -> Path:
    """Times in it are those of the last commit."""
    epoch = run("git", "log", "-1", "--format=%ct") if (ROOT / ".git").exists() else "1700000000"
    env = {**os.environ, "SOURCE_DATE_EPOCH": epoch.strip()}
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "-w", folder, ROOT, env=env)
    (wheel,) = folder.glob("usp-*.whl")
    return wheel


def pinned(wheel: Path) -> str:
    """What pip would install now, by version and hash, and from nowhere in particular."""
    with tempfile.TemporaryDirectory(prefix="usp-report-") as folder:
        report = Path(folder) / "report.json"
        wanted = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        run(*wanted, "--report", report, f"{wheel}[{EXTRAS}]")
        found = json.loads(report.read_text())["install"]
    return "".join(sorted(map(_line, (each for each in found if each["metadata"]["name"] != "usp"))))


def _line(package: dict[str, Any]) -> str:
    about, sha256 = package["metadata"], package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{_name(about['name'])}=={about['version']} --hash=sha256:{sha256}\n"


def _name(name: str) -> str:
    """As packages are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folder: Path, wheel: Path, constraints: Path) -> Path:
    """An environment with the wheel and exactly what is pinned: its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps"]
    run(*pip, "--require-hashes", "-r", constraints)
    run(*pip, wheel)
    return python


def bill(python: Path, out: Path) -> None:
    """The same packages give the same bill: no serial number, no time."""
    about = ["--pyproject", ROOT / "pyproject.toml", "--mc-type", "application"]
    run(BIN / "cyclonedx-py", "environment", *about, "--output-reproducible", "-o", out, python)
    print(f"{out.name}: {len(json.loads(out.read_text())['components'])} components")


def licences(python: Path, out: Path) -> None:
    found = json.loads(run(BIN / "pip-licenses", f"--python={python}", "--from=mixed", "--format=json"))
    rows = sorted((each["Name"], each["Version"], each["License"].replace("\n", " ")[:80]) for each in found)
    noted = [f"{name} ({licence})" for name, _, licence in rows if any(word in licence for word in RECIPROCAL)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows if row[0] != "usp")
    out.write_text(
        f"# Licences\n\nUsed unmodified, as libraries, under licences that ask for their own changes to be published: "
        f"{', '.join(noted)}.\n\n| package | version | licence |\n|---|---|---|\n{table}"
    )
    print(f"{out.name}: {len(rows)} packages; reciprocal: {', '.join(noted)}")


def audit(constraints: Path, out: Path, advisories: Path | None) -> str:
    """What is known against these versions, in words."""
    if advisories is None:
        argv = [BIN / "pip-audit", "-r", constraints, "--disable-pip", "--require-hashes", "-f", "json", "-o", out]
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
        if not out.exists() or not out.read_text():
            why = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
            out.write_text(json.dumps({"dependencies": [], "not_audited": why}))
            return f"NOT AUDITED: {why}; give --advisories FILE, made by pip-audit where the advisories can be reached"
        advisories = out
    return judged(constraints.read_text(), json.loads(advisories.read_text()))


def judged(constraints: str, report: dict[str, Any]) -> str:
    known = {(_name(each["name"]), each.get("version")): each.get("vulns", []) for each in report["dependencies"]}
    pins = [tuple(line.split(" ")[0].split("==")) for line in constraints.splitlines()]
    unknown = [name for name, version in pins if (name, version) not in known]
    bad = [f"{name} {version}: {vuln['id']}" for name, version in pins for vuln in known.get((name, version), [])]
    if bad:
        return f"VULNERABLE: {'; '.join(bad)}"
    if unknown:
        return f"NOT AUDITED: {', '.join(unknown)}"
    return f"no known vulnerability in {len(pins)} packages"


def run(*argv: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, argv)), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
