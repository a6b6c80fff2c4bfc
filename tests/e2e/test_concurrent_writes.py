"""Two clients that write the same things at once to a real manager: nothing is lost, nothing is half done.

Losers are told so: 412 when they said which revision they meant, 409 when they did not and the name is taken, or when
the catalog would not stand still. Nobody gets a server error, SQLite's single writer notwithstanding.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place, serving

pytestmark = pytest.mark.once

WRITES = 200
PROBE = "/items/ip-filters/contended"


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, str]]:
    """A usp-manager process, and an administrator's token."""
    place = Place(tmp_path_factory.mktemp("manager"))
    assert place.run("db", "upgrade").exit_code == 0
    place.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    token = place.run("token", "add", "test", "--user", "admin").stdout.strip()
    with serving(place):
        yield place, token


@pytest.fixture
async def clients(manager: tuple[Place, str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two of them, with an IP Filter `contended` to fight for."""
    place, token = manager
    context = ssl.create_default_context(cafile=str(place.folder / "ca"))
    async with AsyncExitStack() as stack:
        made = [
            httpx.AsyncClient(
                base_url=f"https://127.0.0.1:{place.port}/api/v1",
                headers={"Authorization": f"Bearer {token}"},
                verify=context,
                timeout=60,
            )
            for _ in range(2)
        ]
        for client in made:
            await stack.enter_async_context(client)
        await made[0].delete(PROBE)
        assert (await made[0].post("/items/ip-filters", json={"name": "contended"})).status_code == 201
        yield made


async def at_once(requests: list[Coroutine[Any, Any, httpx.Response]]) -> list[httpx.Response]:
    return list(await asyncio.gather(*requests))


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_one_of_all_who_meant_the_same_revision_wins(clients: list[httpx.AsyncClient]) -> None:
    tag = (await clients[0].get(PROBE)).headers["etag"]
    answers = await at_once(
        [
            clients[n % 2].put(PROBE, json={"name": "contended", "description": f"by {n}"}, headers={"If-Match": tag})
            for n in range(WRITES)
        ]
    )
    assert statuses(answers) == {200: 1, 412: WRITES - 1}
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 412} == {"item.stale"}
    assert (await clients[1].get(PROBE)).json() == won


async def test_one_of_all_who_take_the_same_name_gets_it(clients: list[httpx.AsyncClient]) -> None:
    await clients[0].delete("/items/account-repositories/contended")
    answers = await at_once(
        [clients[n % 2].post("/items/account-repositories", json={"name": "contended"}) for n in range(WRITES)]
    )
    assert statuses(answers) == {201: 1, 409: WRITES - 1}
    found = (await clients[1].get("/items/account-repositories", params={"name": "contended"})).json()
    assert len(found["items"]) == 1


async def test_no_counted_write_is_lost(clients: list[httpx.AsyncClient]) -> None:
    """Each of 200 tasks counts up by one: read, add, write with If-Match, and again when somebody was faster."""

    async def count_up(client: httpx.AsyncClient) -> list[int]:
        seen = []
        while True:
            item = await client.get(PROBE)
            value = int(item.json()["description"] or 0) + 1
            body = {"name": "contended", "description": str(value)}
            answer = await client.put(PROBE, json=body, headers={"If-Match": item.headers["etag"]})
            seen.append(answer.status_code)
            if answer.status_code == 200:
                return seen

    gate = asyncio.Semaphore(4)  # so many at a time: each winner makes losers of all the others

    async def gated(client: httpx.AsyncClient) -> list[int]:
        async with gate:
            return await count_up(client)

    seen = await asyncio.gather(*(gated(clients[n % 2]) for n in range(WRITES)))
    assert (await clients[0].get(PROBE)).json()["description"] == str(WRITES)
    assert {status for each in seen for status in each} <= {200, 412}


async def test_whoever_was_told_200_is_in_the_history(clients: list[httpx.AsyncClient]) -> None:
    answers = await at_once(
        [clients[n % 2].put(PROBE, json={"name": "contended", "description": f"by {n}"}) for n in range(WRITES)]
    )
    assert statuses(answers).keys() <= {200, 409}
    won = {answer.json()["revision"]: answer.json()["description"] for answer in answers if answer.status_code == 200}
    assert len(won) == statuses(answers)[200] > 0, "each write has a revision of its own"
    history, query = {}, {"limit": 1000}
    page = (await clients[0].get(f"{PROBE}/history", params=query)).json()
    for entry in page["items"]:
        history[entry["revision"]] = entry
    assert won.keys() <= history.keys()
    assert (await clients[0].get(PROBE)).json()["description"] == won[max(won)]


async def test_a_set_is_written_whole_or_not_at_all(clients: list[httpx.AsyncClient]) -> None:
    """Each writes the same word into two items, in a set; they never differ, however often one looks."""
    names = ("left", "right")

    async def write(client: httpx.AsyncClient, word: str) -> httpx.Response:
        items = {"ip-filters": [{"name": name, "description": word} for name in names]}
        return await client.post("/apply", json={"items": items})

    assert (await write(clients[0], "at first")).status_code == 200
    done = asyncio.Event()
    torn = []

    async def look() -> int:
        looks = 0
        while not done.is_set():
            found = await clients[1].get("/items/ip-filters", params={"name": "*t"})
            words = {item["name"]: (item["description"], item["revision"]) for item in found.json()["items"]}
            if words["left"] != words["right"]:
                torn.append(words)
            looks += 1
        return looks

    looking = asyncio.gather(look())
    answers = await at_once([write(clients[n % 2], f"by {n}") for n in range(WRITES)])
    done.set()
    assert (await looking)[0] > 0
    assert torn == []
    assert statuses(answers).keys() <= {200, 409}
    assert statuses(answers)[200] > 0


def test_nothing_went_wrong_unseen(manager: tuple[Place, str]) -> None:
    place, token = manager
    status, _ = place.get(f"https://127.0.0.1:{place.port}/api/v1/servers", token)
    assert status == 200
    assert not list(Path(place.folder).glob("*.log"))
