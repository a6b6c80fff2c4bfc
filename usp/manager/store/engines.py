"""The engines, and all that differs between them: how to connect, what a transaction sees, the clock, what is a race.

* SQLite: a file; a writer holds the one lock from its first statement on.
* PostgreSQL and Oracle: readers see one moment of the database; writers READ COMMITTED, so that whoever waited for a
  row sees what was committed meanwhile. They are further away: connections are checked before use, everything has a
  time limit, and a commit may get lost (`database.py` has the receipts for that).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from usp.databases import DatabaseEngine, DatabaseSettings
from usp.errors import UspError

BUSY_TIMEOUT: Final = 10.0  # seconds that a writer waits for another on sqlite
WRITES: Final = "usp_writes"

RACES: Final = frozenset({"40001", "40P01", "ORA-08177", "ORA-00060"})
"""Serialization failures and deadlocks: somebody else wrote at the same moment."""


def make(settings: DatabaseSettings, *, create: bool) -> AsyncEngine:
    """An engine that has not connected yet. A file is made only with `create`, readable by its owner alone."""
    return _MAKERS[settings.engine](settings, create)


def is_race(error: DBAPIError) -> bool:
    """Whether to do it again is all that is needed."""
    code = getattr(error.orig, "sqlstate", None)
    return code in RACES or str(error.orig).partition(":")[0] in RACES


# --- sqlite ---


def _sqlite(settings: DatabaseSettings, create: bool) -> AsyncEngine:
    _sqlite_file(Path(settings.path), create)
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{Path(settings.path).absolute()}",
        connect_args={"timeout": BUSY_TIMEOUT},
        hide_parameters=True,
        pool_size=4,
        max_overflow=4,
        pool_timeout=30,
    )
    event.listen(engine.sync_engine, "connect", _sqlite_connected)
    event.listen(engine.sync_engine, "begin", _sqlite_begin)
    return engine


def _sqlite_file(path: Path, create: bool) -> None:
    try:
        if create:
            path.touch(mode=0o600, exist_ok=True)
        elif not path.exists():
            raise UspError("database.schema", f"there is no database at {path} yet: run `usp-manager db upgrade`")
    except OSError as error:
        raise UspError("database.unavailable", f"the database {path} cannot be made: {error.strerror}") from None


def _sqlite_connected(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _sqlite_begin, not by the driver's guess
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    """A writer takes the lock at its start: what it then reads stays true until it commits."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# --- postgresql ---


def _postgresql(settings: DatabaseSettings, create: bool) -> AsyncEngine:
    hosts = settings.host.split(",")
    milliseconds = str(round(settings.statement_timeout * 1000))
    return _pooled(
        "postgresql+asyncpg://",
        settings,
        {
            "host": hosts if len(hosts) > 1 else hosts[0],
            "port": settings.effective_port,
            "user": settings.user,
            "password": settings.password_text(),
            "database": settings.name,
            "ssl": _tls(settings) if settings.encrypted else False,
            "timeout": settings.connect_timeout,
            "command_timeout": settings.statement_timeout + 1,  # after the server's own, which leaves no doubt
            "target_session_attrs": "read-write",  # of several hosts, the one that is not a standby
            "server_settings": {
                "application_name": "usp-manager",
                "default_transaction_isolation": "read committed",
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,  # a lost manager's locks go, too
            },
        },
    )


def _postgresql_reading(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


# --- oracle ---


def _oracle(settings: DatabaseSettings, create: bool) -> AsyncEngine:
    arguments: dict[str, Any] = {
        "user": settings.user,
        "password": settings.password_text(),
        "tcp_connect_timeout": settings.connect_timeout,
        "program": "usp-manager",
    }
    if settings.dsn:
        arguments["dsn"] = settings.dsn
    else:
        arguments |= {
            "host": settings.host.strip("[]"),
            "port": settings.effective_port,
            "service_name": settings.service_name,
            "protocol": "tcps" if settings.encrypted else "tcp",
        }
    if settings.wallet:
        arguments["wallet_location"] = settings.wallet
        arguments["wallet_password"] = settings.wallet_password.reveal() if settings.wallet_password else None
        arguments["config_dir"] = settings.wallet  # cloud wallets bring their tnsnames.ora
    elif settings.ca or settings.encrypted:
        arguments["ssl_context"] = _tls(settings)
    engine = _pooled("oracle+oracledb_async://", settings, arguments)
    milliseconds = round(settings.statement_timeout * 1000)

    def connected(connection: Any, record: object) -> None:
        connection.driver_connection.call_timeout = milliseconds

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "begin", _oracle_begin)
    return engine


def _oracle_begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")


# --- common ---


def _pooled(url: str, settings: DatabaseSettings, arguments: Mapping[str, Any]) -> AsyncEngine:
    return create_async_engine(
        url,
        connect_args=dict(arguments),
        hide_parameters=True,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_overflow,
        pool_timeout=settings.connect_timeout + settings.statement_timeout,
        pool_pre_ping=True,
    )


def _tls(settings: DatabaseSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise UspError("settings.unreadable", f"cannot use the CA certificates in {settings.ca}: {error}") from None


_MAKERS: Final[Mapping[DatabaseEngine, Callable[[DatabaseSettings, bool], AsyncEngine]]] = {
    DatabaseEngine.SQLITE: _sqlite,
    DatabaseEngine.POSTGRESQL: _postgresql,
    DatabaseEngine.ORACLE: _oracle,
}


def reading(engine: AsyncEngine) -> AsyncEngine:
    """The engine for transactions that see one moment of the database and write nothing."""
    return _postgresql_reading(engine) if engine.dialect.name == "postgresql" else engine.execution_options()


def writing(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(**{WRITES: True})
