"""Several managers on one PostgreSQL, and the one that SQLite allows."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.databases import postgres
from tests.e2e.suite import ENV
from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place, serving

WRITES = 200


def on_postgresql(place: Place, server: postgres.Postgres) -> Place:
    """Its configuration says PostgreSQL from now on, with the password in a file."""
    password = place.folder / "database-password"
    password.touch(mode=0o600)
    password.write_text(postgres.PASSWORD)
    block = f"""engine = "postgresql"
              host   = "127.0.0.1"
              port   = {server.port}
              user   = "{postgres.USER}"
              password_file = "{password}"
    """
    place.config.write_text(place.config.read_text().replace(f'path = "{place.folder}/usp.db"', block))
    return place


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """Two running managers on one database."""
    with postgres.running() as server:
        made = [on_postgresql(Place(tmp_path_factory.mktemp("manager")), server) for _ in range(2)]
        assert made[0].run("db", "upgrade").exit_code == 0
        made[0].run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
        with serving(made[0]), serving(made[1]):
            yield made


@pytest.fixture
async def managers(places: list[Place]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each, without credentials."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"https://127.0.0.1:{place.port}/api/v1",
                    verify=ssl.create_default_context(cafile=str(place.folder / "ca")),
                    timeout=60,
                )
            )
            for place in places
        ]


async def log_in(client: httpx.AsyncClient) -> str:
    answer = await client.post("/login", json={"username": "admin", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def as_admin(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_login_on_one_is_a_login_on_all(managers: list[httpx.AsyncClient]) -> None:
    one, two = managers
    token = as_admin(await log_in(one))
    assert (await two.get("/items/rules", headers=token)).status_code == 200
    assert (await one.get("/items/rules", headers=token)).status_code == 200
    assert (await two.post("/logout", headers=token)).is_success
    assert (await one.get("/items/rules", headers=token)).status_code == 401, "ended on the other: ended here"


async def test_a_token_of_one_is_a_token_of_all(managers: list[httpx.AsyncClient]) -> None:
    one, two = managers
    admin = as_admin(await log_in(one))
    made = (await one.post("/tokens", json={"name": "ci"}, headers=admin)).json()
    assert (await two.get("/items/rules", headers=as_admin(made["token"]))).status_code == 200
    await two.delete(f"/tokens/{made['id']}", headers=admin)
    assert (await one.get("/items/rules", headers=as_admin(made["token"]))).status_code == 401


async def test_wrong_passwords_are_counted_together(managers: list[httpx.AsyncClient]) -> None:
    """Five of a user are allowed: it does not help to try them here and there."""
    answers = [
        await managers[n % 2].post("/login", json={"username": "nobody", "password": f"guess {n}"}) for n in range(7)
    ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2


async def test_writes_of_both_at_once(managers: list[httpx.AsyncClient]) -> None:
    """Who loses against the other manager is repeated on what that one wrote; nothing that was said to be done is
    lost."""
    admin = as_admin(await log_in(managers[0]))
    await managers[0].post("/items/ip-filters", json={"name": "shared"}, headers=admin)
    answers = await asyncio.gather(
        *[
            managers[n % 2].put(
                "/items/ip-filters/shared", json={"name": "shared", "description": f"by {n}"}, headers=admin
            )
            for n in range(WRITES)
        ]
    )
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() <= {200, 409}, [answer.text for answer in answers if answer.status_code >= 500][:1]
    won = {answer.json()["revision"]: answer.json()["description"] for answer in answers if answer.is_success}
    assert len(won) == statuses[200] > 0
    for client in managers:
        item = (await client.get("/items/ip-filters/shared", headers=admin)).json()
        assert item["description"] == won[max(won)]


async def test_what_one_does_is_in_the_audit_trail_of_the_other(managers: list[httpx.AsyncClient]) -> None:
    one, two = managers
    admin = as_admin(await log_in(one))
    await one.post("/items/ip-filters", json={"name": "audited"}, headers=admin)
    events = (await two.get("/events", params={"action": "item."}, headers=admin)).json()["items"]
    assert events[0]["target"] == "ip-filters/audited"


def test_a_second_manager_on_sqlite_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.run("db", "upgrade").exit_code == 0
    with serving(place):
        argv = [sys.executable, "-m", "usp.manager.main", "-config", str(place.config), "serve"]
        second = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "another usp-manager" in second.stderr
        assert 'several managers need database.engine = "postgresql" or "oracle"' in second.stderr
        made = place.run("user", "add", "ann", "--role", "admin", "--password-stdin", input=PASSWORD)
        assert made.exit_code == 0, "commands work beside it"
