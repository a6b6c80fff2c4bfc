"""What is said of a release's packages: nothing passes that nobody has looked at."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SPEC = importlib.util.spec_from_file_location(
    "supply_chain", Path(__file__).parents[2] / "packaging" / "supply_chain.py"
)
assert SPEC is not None
assert SPEC.loader is not None
supply_chain = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(supply_chain)

PINS = "one-two==1.0 --hash=sha256:aa\nthree==2.0 --hash=sha256:bb\n"


def of(name: str, version: str, *ids: str) -> dict[str, Any]:
    return {"name": name, "version": version, "vulns": [{"id": each} for each in ids]}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([of("One_Two", "1.0"), of("three", "2.0")], "no known vulnerability in 2 packages"),
        (
            [of("one.two", "1.0", "CVE-1", "CVE-2"), of("three", "2.0")],
            "VULNERABLE: one-two 1.0: CVE-1; one-two 1.0: CVE-2",
        ),
        ([of("one-two", "1.0"), of("three", "1.9")], "NOT AUDITED: three"),
        ([of("one-two", "1.0"), {"name": "three", "skip_reason": "not found"}], "NOT AUDITED: three"),
        ([], "NOT AUDITED: one-two, three"),
    ],
)
def test_an_audit(found: list[dict[str, Any]], said: str) -> None:
    assert supply_chain.judged(PINS, {"dependencies": found}) == said


def test_pins_name_no_place() -> None:
    """A mirror of one's own must do, and no address of it may get into a release."""
    package = {
        "metadata": {"name": "One_Two", "version": "1.0"},
        "download_info": {"url": "https://mirror.example/x.whl", "archive_info": {"hashes": {"sha256": "aa"}}},
    }
    assert supply_chain._line(package) == "one-two==1.0 --hash=sha256:aa\n"
