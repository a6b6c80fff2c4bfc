"""Logging in at an OpenID provider, which is a real one: a process of its own, over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.oidc_provider import CLIENT, SECRET
from tests.ports import free_port
from tests.unit.manager import site
from tests.unit.manager.api.calls import Clock
from tests.unit.manager.ui.conftest import PASSWORD, Browser, text_of
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.users import Actor
from usp.secret import Secret
from usp.settings import OidcSettings

ME = "https://manager"


class Clocked(Clock):
    """Goes with the provider's clock, which is the machine's."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime.now(UTC)


class Provider:
    def __init__(self, url: str) -> None:
        self.url = url

    def does(self, **scenario: Any) -> None:
        httpx.post(f"{self.url}/scenario", json=scenario).raise_for_status()

    def agree(self, url: str) -> str:
        """What the browser does there: where it is sent back to."""
        answer = httpx.get(url)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.oidc_provider", str(port)])
    provider = Provider(f"http://127.0.0.1:{port}")
    try:
        for _ in range(200):
            try:
                provider.does()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield provider
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.does()
    return running


@pytest.fixture
def clock() -> Clock:
    return Clocked()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    plain = site.settings
    corporate = OidcSettings(
        issuer=provider.url,
        client_id=CLIENT,
        client_secret=Secret(SECRET),
        title="Example Corp",
        admin_groups=("gateway-admins",),
        read_only_groups=("gateway-readers",),
    )
    other = corporate.model_copy(update={"title": "Other"})

    def settings(**push: float) -> Any:
        return plain(**push).model_copy(update={"oidc": {"corp": corporate, "other": other}})

    monkeypatch.setattr(site, "settings", settings)
    async with site.opened(tmp_path, clock) as made:
        yield made


async def there(nobody: Browser, provider: Provider, label: str = "corp", next: str = "") -> str:
    """The browser at the provider, and where it is sent back to, on our side."""
    begun = await nobody.get(f"/ui/oidc/{label}{next}")
    assert begun.status_code == 303, text_of(begun)
    assert begun.headers["location"].startswith(f"{provider.url}/authorize?")
    back = provider.agree(begun.headers["location"])
    assert back.startswith(f"{ME}/ui/oidc/{label}/callback?")
    return back.removeprefix(ME)


async def login(nobody: Browser, provider: Provider, **more: Any) -> httpx.Response:
    return await nobody.get(await there(nobody, provider, **more))


async def test_somebody_new_becomes_a_user(app: App, nobody: Browser, provider: Provider) -> None:
    assert "Log in with Example Corp" in text_of(await nobody.get("/ui/login"))
    answer = await login(nobody, provider, next="?next=/ui/account")
    assert answer.headers["location"] == "/ui/account"
    assert "erika" in text_of(await nobody.get("/ui/account"))
    user = await app.administrators.find("erika")
    assert (user.role, user.password_hash, user.full_name, user.email) == (
        Role.ADMIN,
        None,
        "Erika M.",
        "erika@example.org",
    )
    events = [(event.action, dict(event.detail)) for event in await app.store.events.page()]
    assert ("login.succeeded", {"provider": "corp"}) in events
    assert not any(nobody.token in str(event) for event in events)


async def test_the_role_follows_the_groups(app: App, nobody: Browser, provider: Provider) -> None:
    await app.administrators.add("boss", Role.ADMIN, None, author="test")
    await login(nobody, provider)
    provider.does(claims={"groups": "gateway-readers others", "preferred_username": "renamed"})
    await login(nobody, provider)
    assert (await app.administrators.find("erika")).role is Role.READ_ONLY, "by the subject, not by the name"
    assert (await nobody.get("/ui/users")).status_code == 403


async def test_the_ticket_opens_on_another_manager_and_once(
    app: App, nobody: Browser, provider: Provider, tmp_path: Path, clock: Clock
) -> None:
    back = await there(nobody, provider)
    async with site.opened(tmp_path, clock) as other:
        query = dict(httpx.URL(back).params)
        ticket = nobody.http.cookies["__Host-usp-oidc"].strip('"')
        token, _, user, _ = await other.providers.finish("corp", ticket, query, "192.0.2.1")
        assert user.name == "erika"
        assert (await app.logins.authenticate(token, "192.0.2.1")).name == "erika"
    again = await nobody.get(back)
    assert (again.status_code, "does not take the login" in text_of(again)) == (401, True)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ({"claims": {"iss": "http://127.0.0.1:1"}}, "of another issuer"),
        ({"claims": {"aud": "somebody-else"}}, "meant for somebody else"),
        ({"claims": {"aud": ["usp", "other"]}}, "given to somebody else"),
        ({"claims": {"azp": "other"}}, "given to somebody else"),
        ({"claims": {"nonce": "another"}}, "answers another login"),
        ({"claims": {"nonce": None}}, "answers another login"),
        ({"claims": {"exp": 1000000000}}, "has expired"),
        ({"claims": {"exp": None}}, "has no exp"),
        ({"claims": {"exp": "never"}}, "has no exp"),
        ({"claims": {"iat": 1000000000}}, "not of this time"),
        ({"claims": {"nbf": 9000000000}}, "not of this time"),
        ({"claims": {"sub": None}}, "does not say who"),
        ({"claims": {"preferred_username": "a b"}}, "is no user name"),
        ({"claims": {"preferred_username": None}}, "is no user name"),
        ({"claims": {"groups": ["strangers"]}}, "none of your groups"),
        ({"claims": {"groups": None}}, "none of your groups"),
        ({"claims": {"groups": {"gateway-admins": True}}}, "none of your groups"),
        ({"alg": "none"}, "not signed as it should be"),
        ({"alg": "HS256"}, "not signed as it should be"),
        ({"key": "stranger"}, "not signed as it should be"),
        ({"token": {"id_token": None}}, "gave no token"),
        ({"token": {"id_token": "a.b.c"}}, "not signed as it should be"),
        ({"answer": {"state": "another"}}, "belongs to another login"),
        ({"answer": {"state": None}}, "belongs to another login"),
        ({"answer": {"iss": "https://evil.example"}}, "another provider has answered"),
        ({"answer": {"iss": None}}, "another provider has answered"),
        ({"answer": {"error": "access_denied"}}, "access_denied"),
        ({"answer": {"code": None}}, "gave no code"),
        ({"answer": {"code": "guessed"}}, "does not take the login"),
    ],
)
async def test_who_is_refused(app: App, nobody: Browser, provider: Provider, scenario: Any, said: str) -> None:
    provider.does(**scenario)
    answer = await login(nobody, provider)
    assert (
        answer.status_code,
        said in text_of(answer).replace("None of", "none of").replace("Another prov", "another prov"),
    ) == (401, True)
    assert nobody.token == ""
    assert await app.store.users.all() == []
    (event, *_) = await app.store.events.page()
    assert event.action == "login.failed"
    assert said in event.detail["reason"]


async def test_one_provider_cannot_answer_for_another(nobody: Browser, provider: Provider, app: App) -> None:
    back = await there(nobody, provider, "corp")
    answer = await nobody.get(back.replace("/corp/", "/other/"))
    assert (answer.status_code, "was not begun here" in text_of(answer)) == (401, True)
    assert await app.store.users.all() == []


async def test_an_answer_without_a_beginning(nobody: Browser, provider: Provider, clock: Clock) -> None:
    back = await there(nobody, provider)
    ticket = nobody.http.cookies["__Host-usp-oidc"]
    for cookie, wait in (("", 0), ("v1.x.y", 0), (ticket, 700)):
        clock.pass_(seconds=wait)
        nobody.http.cookies.clear()
        if cookie:
            nobody.http.cookies.set("__Host-usp-oidc", cookie)
        answer = await nobody.get(back)
        assert (answer.status_code, "begin again" in text_of(answer)) == (401, True)


async def test_a_user_made_here_is_not_taken_over(app: App, nobody: Browser, provider: Provider) -> None:
    made = await app.administrators.add("erika", Role.READ_ONLY, PASSWORD, author="test")
    answer = await login(nobody, provider)
    assert (answer.status_code, "was made here" in text_of(answer)) == (401, True)
    assert await app.administrators.find("erika") == made


async def test_a_disabled_user_stays_out(app: App, nobody: Browser, provider: Provider) -> None:
    boss = await app.administrators.add("boss", Role.ADMIN, None, author="test")
    await login(nobody, provider)
    actor = Actor("boss", Role.ADMIN, "", boss.id)
    await app.administrators.change(actor, "erika", {"enabled": False})
    nobody.http.cookies.clear()
    answer = await login(nobody, provider)
    assert (answer.status_code, "is disabled" in text_of(answer)) == (401, True)


async def test_new_keys_are_fetched_when_a_token_names_one(app: App, nobody: Browser, provider: Provider) -> None:
    await app.administrators.add("boss", Role.ADMIN, None, author="test")
    assert (await login(nobody, provider)).status_code == 303
    provider.does(rotate=True)
    nobody.http.cookies.clear()
    assert (await login(nobody, provider)).status_code == 303


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"token_endpoint": None},
        {"jwks_uri": "ftp://x"},
        {"jwks_uri": "http://127.0.0.1:1/"},
    ],
)
async def test_a_provider_that_is_not_as_it_should_be(nobody: Browser, provider: Provider, discovery: Any) -> None:
    provider.does(discovery=discovery)
    answer = await nobody.get("/ui/oidc/corp")
    assert answer.status_code == 503
    assert "provider" in text_of(answer)


async def test_one_that_there_is_not(nobody: Browser) -> None:
    assert (await nobody.get("/ui/oidc/nobody")).status_code == 404
    assert (await nobody.get("/ui/oidc/nobody/callback?code=x&state=y")).status_code == 404
