"""Tries a package in a clean root: `python packaging/trial.py DEB ROOT` (as root).

ROOT is a Debian made by debootstrap; it is copied first. The package is installed with dpkg, the three daemons start as
their units say, as the user usp, a partner's transfer passes, the package is removed and purged, and what is left is
looked at.

    debootstrap --variant=minbase --include=python3 bookworm ROOT
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()


def main(deb: Path, clean: Path) -> int:
    if os.environ.get("USP_TRIAL") != "unshared":  # mounts of our own, which end with us
        argv = ["unshare", "--mount", "--pid", "--fork", sys.executable, str(HERE), str(deb), str(clean)]
        return subprocess.run(argv, env={**os.environ, "USP_TRIAL": "unshared"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="usp-root-") as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(clean), str(root)], check=True)
        for kind, where in (("proc", "proc"), ("tmpfs", "tmp"), ("tmpfs", "run")):
            subprocess.run(["mount", "-t", kind, kind, str(root / where)], check=True)
        subprocess.run(["mount", "--rbind", "/dev", str(root / "dev")], check=True)
        try:
            tried(root, deb)
        finally:
            for where in ("proc", "tmp", "run", "dev"):
                subprocess.run(["umount", "-l", str(root / where)], check=False)
    return 0


def tried(root: Path, deb: Path) -> None:
    before = files(root)
    shutil.copy(deb, root / "tmp" / "usp.deb")
    inside(root, "dpkg", "-i", "/tmp/usp.deb")
    shutil.copy(HERE.with_name("trial_inside.py"), root / "tmp")
    inside(root, "/opt/udmg/venv/bin/python", "/tmp/trial_inside.py")
    installed = files(root) - before
    print(f"installed: {len(installed)} files and directories")
    inside(root, "dpkg", "--remove", "usp")
    left = files(root) - before
    print("left by remove:", *sorted(short(left)), sep="\n  ")
    assert "opt/udmg/etc/usp-server.hcl" in left, "remove keeps the configuration"
    inside(root, "dpkg", "--purge", "usp")
    left = files(root) - before
    print("left by purge:", *sorted(short(left)), sep="\n  ")
    strange = {path for path in left if not path.startswith(("opt", "var/lib/dpkg", "var/log", "etc/"))}
    strange |= {path for path in left if path.startswith("opt/udmg/venv")}
    strange |= {path for path in left if path.endswith(".hcl") and "trial" not in path}
    assert not strange, strange
    status = (root / "var/lib/dpkg/status").read_text()
    assert "\nPackage: usp\n" not in status
    print("ok")


def inside(root: Path, *argv: str) -> None:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["chroot", str(root), *argv], env=env, check=True)


def files(root: Path) -> set[str]:
    found = set()
    for folder, names, others in os.walk(root):
        here = Path(folder).relative_to(root)
        if here.parts[:1] in (("proc",), ("tmp",), ("run",), ("dev",)):
            names.clear()
            continue
        found.update(str(here / name) for name in (*names, *others))
    return found


def short(paths: set[str]) -> set[str]:
    return {"/".join(path.split("/")[:5]) for path in paths}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
