"""The documentation for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.manager.api.calls import Api, refused
from usp.manager.api import docs

SITE = "https://manager"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(docs, "folder", lambda: tmp_path)
    return tmp_path


async def test_without_swagger_ui(nobody: Api, folder: Path) -> None:
    page = await nobody("GET", f"{SITE}/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "make ui" in page.text
    refused(await nobody("GET", f"{SITE}/docs/swagger-ui.css"), 404, "request.unknown")


async def test_with_swagger_ui(nobody: Api, folder: Path) -> None:
    for name in docs.FILES:
        (folder / name).write_text(f"/* {name} */")
    (folder / "secret").write_text("secret")
    page = await nobody("GET", f"{SITE}/docs")
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f'"/docs/{name}"' in page.text
        file = await nobody("GET", f"{SITE}/docs/{name}")
        assert file.status_code == 200
        assert file.headers["content-type"].startswith(("text/css", "text/javascript"))
    assert 'url: "/openapi.json"' in (await nobody("GET", f"{SITE}/docs/start.js")).text
    for name in ("secret", "..%2Fsecret", "%2e%2e/secret", "nothing.js"):
        assert (await nobody("GET", f"{SITE}/docs/{name}")).status_code == 404


async def test_a_strict_policy(nobody: Api, folder: Path) -> None:
    (folder / "swagger-ui-bundle.js").touch()
    for path in ("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js"):
        policy = (await nobody("GET", SITE + path)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    page = (await nobody("GET", f"{SITE}/docs")).text
    assert "<script>" not in page, "inline scripts are forbidden by the policy"
    assert "style=" not in page


def test_the_folder_is_the_one_that_the_build_fills() -> None:
    assert docs.folder().parts[-3:] == ("manager", "ui", "swagger-ui")
