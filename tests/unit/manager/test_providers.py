"""Asking OpenID providers. (What comes of it, with a real one: ui/test_oidc.py.)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.unit.manager import site
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.providers import Providers, _basic
from usp.secret import Secret
from usp.settings import OidcSettings


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with site.opened(tmp_path) as made:
        yield made


def providers(app: App, **fields: str) -> Providers:
    settings = OidcSettings.model_validate(
        {"issuer": f"http://127.0.0.1:{free_port()}", "client_id": "usp", "admin_groups": ("a",), **fields}
    )
    return Providers({"corp": settings}, app.store, app.administrators, app.logins, app.tickets, app.clock)


async def test_one_that_does_not_answer_or_is_not_there(app: App) -> None:
    for label, code in (("corp", "oidc.unavailable"), ("nobody", "request.unknown")):
        with pytest.raises(UspError) as caught:
            await providers(app).begin(label, "https://m/cb", "/ui/status")
        assert caught.value.code == code


async def test_a_ticket_of_another_purpose_begins_nothing(app: App) -> None:
    ticket = app.tickets.seal("login", {"provider": "corp"}, 60)
    with pytest.raises(UspError) as caught:
        await providers(app).finish("corp", ticket, {"state": "", "code": "x"}, "192.0.2.1")
    assert caught.value.code == "oidc.refused"
    assert await app.store.events.page() == [], "strangers cannot fill the audit trail"


def test_name_and_secret_travel_as_the_standard_has_it() -> None:
    assert _basic("a:b", "c d%") == "Basic YSUzQWI6YytkJTI1"


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden\n")
    file.chmod(0o600)
    given = {"issuer": "https://id.example.org", "client_id": "usp", "admin_groups": ("a",)}
    assert OidcSettings.model_validate({**given, "client_secret_file": str(file)}).secret() == Secret("hidden")
    assert OidcSettings.model_validate(given).secret() is None
