"""`make docs-check`: generated pages are current, every link within the documentation leads somewhere, every test that
it names exists, and every shell block that is marked as runnable (```sh run) runs, in an empty directory, with this
checkout's programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.table import ATTACKS
from tests.docs import stale
from tests.fuzz.beginnings import BEGINNINGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:docs|etc|tests|usp|bench|packaging)/[\w./-]+\.\w+)`")
"""Files that the text names, without a link."""
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([\w-]+)\])?`")
ROWS = {attack.name for attack in ATTACKS} | BEGINNINGS.keys()
SHOWN_BY = "| shown by |"
"""The head of a table each of whose rows names the tests that show what it says."""
RUNNABLE = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def broken_links(page: Path) -> Iterator[str]:
    text = CODE.sub("", page.read_text())
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{page.name}: there is no {path}"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{page.name}: {target.name} has no section #{anchor}"
    for path in NAMED.findall(text):
        if not (ROOT / path).exists():
            yield f"{page.name}: there is no {path}"


def unproven(page: Path) -> Iterator[str]:
    """Tests that are named and do not exist, and rows of tables that should name one and do not."""
    text = CODE.sub("", page.read_text())
    for path, function, row in TEST.findall(text):
        source = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        if f"def {function}(" not in source:
            yield f"{page.name}: there is no {path}::{function}"
        elif row and row not in ROWS:
            yield f"{page.name}: {path}::{function} has no row {row}"
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = table.splitlines()
        if head.endswith(SHOWN_BY):
            yield from (f"{page.name}: no test shows this: {row[:60]}" for row in rows if not TEST.search(row))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = CODE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path) -> list[str]:
    return RUNNABLE.findall(page.read_text())


def run(page: Path) -> Iterator[str]:
    """All of a page's blocks, one after the other, in one directory."""
    with tempfile.TemporaryDirectory(prefix="usp-docs-") as folder:
        for block in blocks(page):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": folder}
            shell = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                yield f"{page.name}: this block fails:\n{block}{done.stdout}{done.stderr}"


def main() -> int:
    wrong = [f"{path}: out of date: run `make docs`" for path in stale()]
    for page in PAGES:
        wrong += [*broken_links(page), *unproven(page), *run(page)]
    for line in wrong:
        print(line)
    count = sum(len(blocks(page)) for page in PAGES)
    print(f"{len(PAGES)} pages, {count} blocks were run, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
