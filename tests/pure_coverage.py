"""`python -m tests.pure_coverage [MODULE...]`: is each pure module covered whole by its own test file?

Whole means every line and every branch; the list of pure modules is the import-linter contract in pyproject.toml. One
pytest run does for all: coverage notes for each line in which test file it ran ("" while importing), so what other
tests touch by the way does not count.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).parents[1]


def pure_modules() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["name"].startswith("the pure core")]
    return sorted(contract["source_modules"])


def sources_of(module: str) -> list[Path]:
    """The module's file, or the files below the package, as far as they have functions."""
    path = ROOT / Path(*module.split("."))
    found = [path.with_suffix(".py")] if path.with_suffix(".py").exists() else sorted(path.rglob("*.py"))
    return [source for source in found if re.search(r"^\s*(async )?def ", source.read_text(), re.MULTILINE)]


def test_of(source: Path) -> Path:
    relative = source.relative_to(ROOT / "usp")
    return ROOT / "tests" / "unit" / relative.parent / f"test_{relative.name}"


class _ContextPerFile:
    """The pytest plugin that tells coverage which test file runs."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self._measuring = measuring

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measuring.switch_context(str(item.path))
        result = yield
        self._measuring.switch_context("")
        return result


def measure(sources: list[Path], tests: list[Path]) -> tuple[coverage.Coverage, int]:
    measuring = coverage.Coverage(data_file=None, branch=True, include=[str(source) for source in sources])
    measuring.start()
    arguments = ["-q", "--no-header", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *map(str, tests)]
    status = pytest.main(arguments, plugins=[_ContextPerFile(measuring)])
    measuring.stop()
    return measuring, int(status)


def missing(measuring: coverage.Coverage, source: Path) -> str:
    """What the module's own test file leaves out, in words; "" if nothing."""
    own = ["^$", f"^{re.escape(str(test_of(source)))}$"]
    with tempfile.NamedTemporaryFile() as file, contextlib.redirect_stdout(io.StringIO()):
        measuring.json_report(morfs=[str(source)], outfile=file.name, contexts=own)
        report: dict[str, Any] = json.load(file)
    (found,) = report["files"].values()
    words = [f"line {line}" for line in found["missing_lines"]]
    words += [f"branch {start} -> {end if end > 0 else 'exit'}" for start, end in found["missing_branches"]]
    return ", ".join(words)


def main(only: list[str]) -> int:
    sources = [source for module in pure_modules() if not only or module in only for source in sources_of(module)]
    tests = [test_of(source) for source in sources]
    measuring, status = measure(sources, [test for test in tests if test.exists()])
    left_out = {
        source: missing(measuring, source) for source, test in zip(sources, tests, strict=True) if test.exists()
    }
    left_out |= {source: "has no test file" for source, test in zip(sources, tests, strict=True) if not test.exists()}
    for source, words in left_out.items():
        if words:
            print(f"{source.relative_to(ROOT)}: not covered by {test_of(source).relative_to(ROOT)}: {words}")
    if status == 0 and not any(left_out.values()):
        print(f"{len(sources)} pure modules, each covered whole by its own test file")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
