"""Templates become answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from jinja2 import UndefinedError

from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.ui import pages


async def test_every_page_has_the_policy(admin: Browser) -> None:
    for path in ("/ui/status", "/ui/nothing", "/ui/login"):
        headers = (await admin.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "base-uri 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert "max-age" in headers["strict-transport-security"]


def test_times() -> None:
    html = pages._ago(datetime(2020, 1, 1))  # noqa: DTZ001  (as some databases give it)
    assert '<time data-ago datetime="2020-01-01T00:00:00+00:00" title="2020-01-01 00:00:00 UTC">' in html
    assert pages._ago(datetime.now(UTC)).endswith(">now</time>")
    assert pages._ago(None) == "never"


def test_a_mistake_in_a_template_is_not_shown_as_nothing() -> None:
    with pytest.raises(UndefinedError):
        pages.render("problem.html")


async def test_what_was_done_is_said_once(admin: Browser) -> None:
    response = await admin.post("/ui/logout")
    assert response.status_code == 303
    assert "You are logged out." in text_of(await admin.get("/ui/login"))
