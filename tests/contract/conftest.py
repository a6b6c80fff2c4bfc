"""The store on every engine: a test that takes `at`, `opened` or `store` runs once per engine.

* `sqlite`: a file; * `postgresql`: a server of the tests' own; * `oracle_net`: the real Oracle driver against a test
server that speaks its protocol, and our lint over every statement that arrives there; * `oracle`: the Oracle Database
that USP_TEST_ORACLE_URL names (all `usp_` tables of that user are dropped), skipped without it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import oracledb
import pytest
import pytest_asyncio
from sqlalchemy import Connection, inspect, text, update

from tests.catalogs import NOW
from tests.databases import oracle_lint, oracle_net, postgres
from usp.databases import DatabaseEngine, DatabaseSettings, from_url
from usp.errors import UspError
from usp.manager.store import Store, schema
from usp.manager.store.database import Database
from usp.manager.store.upgrade import check_schema, upgrade

ORACLE = "USP_TEST_ORACLE_URL"
ENGINES = ("sqlite", "postgresql", "oracle_net", "oracle")
KEK = bytes(range(32))

OpenStore = Callable[[], Awaitable[Store]]


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def oracle_server(postgresql: postgres.Postgres) -> Iterator[oracle_net.OracleNet]:
    kept, oracledb.defaults.stmtcachesize = oracledb.defaults.stmtcachesize, 0
    with oracle_net.running(postgresql) as server:
        yield server
    oracledb.defaults.stmtcachesize = kept


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "oracle" and ORACLE not in os.environ:
        pytest.skip(f"{ORACLE} names no Oracle Database")
    return name


@pytest_asyncio.fixture
async def at(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[DatabaseSettings]:
    """A database that is empty; it may have the current schema already."""
    match engine:
        case "sqlite":
            yield DatabaseSettings(path=str(tmp_path / "usp.db"))
        case "postgresql":
            settings = from_url(request.getfixturevalue("postgresql").url())
            await _emptied(settings)
            yield settings
        case "oracle_net":
            server: oracle_net.OracleNet = request.getfixturevalue("oracle_server")
            settings = from_url(server.url())
            await _emptied(settings)
            before = server.statements.stat().st_size
            yield settings
            with server.statements.open() as file:
                file.seek(before)
                assert [found for line in file for found in oracle_lint.findings(json.loads(line))] == []
        case _:
            settings = from_url(os.environ[ORACLE])
            await _emptied(settings)
            yield settings


@pytest_asyncio.fixture
async def bare(at: DatabaseSettings) -> DatabaseSettings:
    """A database without any table."""
    if at.engine is not DatabaseEngine.SQLITE:
        await _drop(at)
    return at


async def _emptied(at: DatabaseSettings) -> None:
    database = Database(at)
    try:
        await check_schema(database)
        async with database.writing() as connection:
            for table in reversed(schema.metadata.sorted_tables):
                if table is not schema.catalog:
                    await connection.execute(table.delete())
            await connection.execute(update(schema.catalog).values(revision=0))
    except UspError as error:
        if error.code != "database.schema":
            raise
        await _drop(at)
    finally:
        await database.close()


async def _drop(at: DatabaseSettings) -> None:
    def drop(connection: Connection) -> None:
        there = {name for name in inspect(connection).get_table_names() if name.startswith("usp_")}
        ordered = [table.name for table in reversed(schema.metadata.sorted_tables) if table.name in there]
        for name in [*ordered, *(there - {*ordered})]:
            connection.execute(text(f"DROP TABLE {name}"))

    database = Database(at)
    try:
        async with database.altering() as connection:
            await connection.run_sync(drop)
    finally:
        await database.close()


@pytest.fixture
def dump(engine: str, at: DatabaseSettings, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], bytes]:
    """Everything that the database keeps, as it lies there, or as the server's own tool writes it out."""
    match engine:
        case "sqlite":
            return lambda: b"".join(path.read_bytes() for path in sorted(tmp_path.glob("usp.db*")))
        case "postgresql":
            return lambda: request.getfixturevalue("postgresql").dump("usp")
        case "oracle_net":
            return lambda: request.getfixturevalue("postgresql").dump(oracle_net.DATABASE)
    pytest.skip("an Oracle Database is not dumped")


@pytest_asyncio.fixture
async def opened(at: DatabaseSettings) -> AsyncIterator[OpenStore]:
    """Opens the store as another manager would; closed at the end."""
    await upgrade(at)
    async with AsyncExitStack() as stack:

        async def open_() -> Store:
            store = await Store.open(at, KEK, now=NOW, new_id=new_id)
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest_asyncio.fixture
async def store(opened: OpenStore) -> Store:
    return await opened()
