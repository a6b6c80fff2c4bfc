"""Tries a package in a clean root: `python packaging/trial.py DEB [ROOT]` (as root).

ROOT is a Debian, such as debootstrap makes, or this machine itself; nothing is written there, but to a layer over it
(overlayfs) that goes away with the trial. The package is installed with dpkg, the three daemons start as their units
say, as the user usp, a partner's transfer passes, the package is removed and purged, and what is left is looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()


def main(deb: Path, below: Path) -> int:
    if os.environ.get("USP_TRIAL") != "unshared":  # mounts and processes of our own, which end with us
        argv = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            sys.executable,
            str(HERE),
            str(deb),
            str(below),
        ]
        return subprocess.run(argv, env={**os.environ, "USP_TRIAL": "unshared"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="usp-root-") as folder:
        layer = Path(folder)
        mount(layer, "tmpfs")
        root, written, work = (layer / name for name in ("root", "written", "work"))
        for each in (root, written, work):
            each.mkdir()
        mount(root, "overlay", f"lowerdir={below},upperdir={written},workdir={work}")
        mount(root / "proc", "proc", "nosuid")
        for place in ("tmp", "run"):
            mount(root / place, "tmpfs", "mode=1777")
        subprocess.run(["mount", "--rbind", "/dev", str(root / "dev")], check=True)
        try:
            tried(root, written, below, deb)
        finally:
            for each in (*(root / name for name in ("proc", "tmp", "run", "dev")), root, layer):
                subprocess.run(["umount", "-l", str(each)], check=False)
    return 0


def mount(where: Path, kind: str, options: str = "mode=0755") -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(where)], check=True)


def tried(root: Path, written: Path, below: Path, deb: Path) -> None:
    """`written`: the layer with what was written to `root`, over what is in `below`."""
    shutil.copy(deb, root / "tmp" / "usp.deb")
    inside(root, "dpkg", "-i", "/tmp/usp.deb")
    shutil.copy(HERE.with_name("trial_inside.py"), root / "tmp")
    inside(root, "/opt/udmg/venv/bin/python", "/tmp/trial_inside.py")
    print(f"installed: {len(new(written, below))} files and directories")
    inside(root, "dpkg", "--remove", "usp")
    left = new(written, below)
    print("left by remove:", *sorted(short(left)), sep="\n  ")
    assert "opt/udmg/etc/usp-server.hcl" in left, "remove keeps the configuration"
    inside(root, "dpkg", "--purge", "usp")
    left = new(written, below)
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


def new(written: Path, below: Path) -> set[str]:
    """What was not there before. (The layer has what was changed or removed, too.)"""
    found = set()
    for folder, names, others in os.walk(written):
        here = Path(folder).relative_to(written)
        found.update(str(here / name) for name in (*names, *others) if not os.path.lexists(below / here / name))
    return found


def short(paths: set[str]) -> set[str]:
    return {"/".join(path.split("/")[:5]) for path in paths}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "/")))
