"""The conventions of this code base, executed. (Who may import whom is import-linter's: pyproject.toml.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pure_coverage import pure_modules

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "usp").rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests" / "unit").rglob("test_*.py"))
PURE = {module.replace(".", "/") for module in pure_modules()}
MAX_LINES = 450

NOT_MIRRORED = (
    "usp/demo/",  # its test is tests/e2e: it runs everything for real
    "usp/manager/store/",  # tests/contract: one suite on every engine
)
TESTS_OF_THE_WHOLE = ("tests/unit/test_conventions.py", "tests/unit/test_model_rules.py")
BANNED_NAMES = ("utils", "common", "base", "helpers", "misc")
UNPURE_CALLS = ("time.time", "time.monotonic", "uuid.uuid4", "uuid4", "datetime.now", "datetime.utcnow", "date.today")


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), str(path))


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def has_code(path: Path) -> bool:
    """Has the module functions or methods? (A list of models, and an __init__ that is a map, have not.)"""
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree(path)))


def test_every_module_with_code_has_its_test_file() -> None:
    missing = [
        f"{path} has no {mirror}"
        for path in MODULES
        if has_code(path) and not str(path).startswith(NOT_MIRRORED)
        if (mirror := Path("tests/unit", *path.parts[1:-1], f"test_{path.name}")) not in TESTS
    ]
    assert not missing, "\n".join(missing)


def test_every_test_file_mirrors_a_module() -> None:
    for path in TESTS:
        module = Path("usp", *path.parts[2:-1], path.name.removeprefix("test_"))
        assert module in MODULES or str(path) in TESTS_OF_THE_WHOLE or str(module).startswith(NOT_MIRRORED), path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_calls(path: Path) -> None:
    for line, call in calls(path):
        where = f"{path}:{line}: {call}"
        if path != Path("usp/tasks.py"):
            assert not call.endswith(("create_task", "ensure_future")), f"{where}: use usp.tasks.spawn"
        if not str(path).startswith(("usp/demo/", "usp/cli/")):
            assert call != "print", f"{where}: use usp.log, or click.echo in a command"
        if str(path.with_suffix("")) in PURE:
            assert call not in UNPURE_CALLS, f"{where}: time and ids are arguments"
            assert not call.startswith(("random.", "secrets.")), f"{where}: randomness is an argument"
            assert call != "open", f"{where}: pure modules do no I/O"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_is_swallowed(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
            assert not (everything and silent), f"{path}:{node.lineno}: an exception of any kind is swallowed"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_names(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            assert not node.name.endswith(("Manager", "Helper", "Util", "Utils")), f"{path}:{node.lineno}: {node.name}"


def test_files_stay_readable() -> None:
    for path in MODULES:
        lines = (ROOT / path).read_text().count("\n")
        assert lines <= MAX_LINES, f"{path} has {lines} lines"


def test_every_module_says_what_lives_there() -> None:
    for path in MODULES:
        assert ast.get_docstring(tree(path)) or not tree(path).body, f"{path} has no docstring"


def test_the_pure_modules_exist() -> None:
    for module in PURE:
        assert Path(f"{module}.py") in MODULES or Path(module, "__init__.py") in MODULES, module
