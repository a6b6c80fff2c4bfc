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
from tests.e2e.suite import ENV, wait_until
from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place, serving

pytestmark = pytest.mark.once

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
def database() -> Iterator[postgres.Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def places(database: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """Two running managers on one database."""
    made = [on_postgresql(Place(tmp_path_factory.mktemp("manager")), database) for _ in range(2)]
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


async def test_the_database_goes_away_and_comes_back(
    database: postgres.Postgres, places: list[Place], managers: list[httpx.AsyncClient]
) -> None:
    """Both managers say so, answer what they can, and go on by themselves; who is logged in stays so."""
    admin = as_admin(await log_in(managers[0]))
    assert (await managers[0].post("/items/ip-filters", json={"name": "before"}, headers=admin)).status_code == 201
    await asyncio.to_thread(database.stop)
    await asyncio.to_thread(wait_until, lambda: not any(map(is_ready, places)), 10, "both say that they are not ready")
    for place, client in zip(places, managers, strict=True):
        assert "the database does not answer" in str(place.get(f"http://127.0.0.1:{place.metrics}/readyz")[1])
        assert place.get(f"http://127.0.0.1:{place.metrics}/livez")[0] == 200
        for answer in (
            await client.get("/items/rules", headers=admin),
            await client.post("/items/ip-filters", json={"name": "meanwhile"}, headers=admin),
            await client.post("/login", json={"username": "admin", "password": PASSWORD}),
        ):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "database.unavailable"
            assert answer.headers["retry-after"]
            assert postgres.PASSWORD not in answer.text
    await asyncio.to_thread(database.start)
    await asyncio.to_thread(wait_until, lambda: all(map(is_ready, places)), 20, "both are ready again")
    names = {"before", "after"}
    assert (await managers[1].post("/items/ip-filters", json={"name": "after"}, headers=admin)).status_code == 201
    found = (await managers[0].get("/items/ip-filters", headers=admin)).json()["items"]
    assert {item["name"] for item in found} & {*names, "meanwhile"} == names


def is_ready(place: Place) -> bool:
    return place.get(f"http://127.0.0.1:{place.metrics}/readyz")[0] == 200


async def test_connections_that_the_database_ends_under_load(
    database: postgres.Postgres, managers: list[httpx.AsyncClient]
) -> None:
    """An administrator of the database ends all connections again and again while both managers write: each item that
    was said to be made is there, once, and none that was said not to be."""
    admin = as_admin(await log_in(managers[0]))
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'usp'"

    async def make(number: int) -> tuple[str, int]:
        name = f"made-{number}"
        answer = await managers[number % 2].post("/items/ip-filters", json={"name": name}, headers=admin)
        return name, answer.status_code

    told: dict[str, int] = {}
    ended = 0
    for start in range(0, WRITES, 20):
        writing = asyncio.gather(*[make(number) for number in range(start, start + 20)])
        while not writing.done():
            await asyncio.sleep(0.05)
            ended += int((await asyncio.to_thread(database.sql, end)).splitlines()[-1])  # before it: warnings
        told |= dict(await writing)
    assert ended
    assert set(told.values()) <= {201, 409, 503}, Counter(told.values())
    await asyncio.sleep(1)
    pages = (await managers[0].get("/items/ip-filters", params={"name": "made-*", "limit": 1000}, headers=admin)).json()
    there = Counter(item["name"] for item in pages["items"])
    assert set(there.values()) <= {1}
    assert {name for name, status in told.items() if status == 201} == set(there)


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
