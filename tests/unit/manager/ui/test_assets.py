"""Styles and scripts."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from tests.unit.manager.ui.conftest import Browser
from usp.manager.ui import assets

MISSING = assets.missing


async def test_a_file_is_kept_until_it_changes(nobody: Browser) -> None:
    address = assets.address("usp.css")
    packed = await nobody.get(address, accept_encoding="gzip")
    plain = await nobody.get(address, accept_encoding="identity")
    content = (assets.UI / "static" / "usp.css").read_bytes()
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == content
    assert "content-encoding" not in plain.headers
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"] == "text/css; charset=utf-8"
    again = await nobody.get(address, if_none_match=plain.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_nothing_else_is_handed_out(nobody: Browser) -> None:
    for name in ("package.json", "..%2Fsite.py", "%2e%2e/site.py", "frame.html", "nothing.js", ""):
        assert (await nobody.get(f"/ui/static/{name}")).status_code in (303, 404), name
    assert assets.address("nothing.js") == "/ui/static/nothing.js"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "files", lambda: dict.fromkeys(["htmx.js", "usp.css"]))
    assert MISSING() == ["bootstrap.css", "hx-sse.js", "uPlot.css", "uPlot.js"]


async def test_without_it_pages_say_what_to_do(nobody: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "missing", lambda: ["htmx.js"])
    page = await nobody.get("/ui/login")
    assert page.status_code == 503
    assert "make ui" in page.text
    assert "htmx.js" in page.text


TEMPLATES = sorted((assets.UI / "templates").glob("*.html"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_keep_to_the_policy(path: Path) -> None:
    """No script, style or handler in the page itself, no other host, and nothing that is not escaped."""
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=\"\{\{ static)", text)
    assert "<style" not in text
    assert not re.search(r"\sstyle=", text)
    assert not re.search(r"\son[a-z]+=", text)
    assert not re.search(r"hx-on|hx-vals=['\"]js:", text)
    assert not re.search(r"(src|href|action)=\"(https?:)?//", text)
    assert not re.search(r"\|\s*safe\b", text)
    assert "autoescape" not in text


def test_gzip_is_the_same_everywhere() -> None:
    asset = assets.files()["theme.js"]
    assert gzip.decompress(asset.packed) == asset.content
