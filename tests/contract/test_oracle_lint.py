"""Our lint for Oracle: a corpus of planted mistakes, each of which it must find, and what is right."""

from __future__ import annotations

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects.oracle.oracledb import OracleDialect_oracledb
from sqlalchemy.schema import CreateIndex, CreateTable

from tests.databases.oracle_lint import findings
from usp.manager.store import schema

MISTAKES = {
    "SELECT usp_item.id FROM usp_item LIMIT 1": "LIMIT",
    "DELETE FROM usp_event WHERE usp_event.id < 5 LIMIT 10": "LIMIT",
    "SELECT usp_item.id FROM usp_item OFFSET 5": "OFFSET",
    "CREATE TABLE usp_x (id INTEGER NOT NULL, enabled BOOLEAN, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "BOOLEAN",
    "UPDATE usp_user SET enabled=true WHERE usp_user.id = :id": "TRUE",
    "SELECT usp_user.id FROM usp_user WHERE usp_user.enabled IS 1": "IS is",
    "SELECT usp_user.id FROM usp_user WHERE usp_user.enabled IS NOT 0": "IS is",
    "UPDATE usp_lease SET held_until=now() WHERE usp_lease.name = :name_1": "clock",
    "SELECT usp_lease.name FROM usp_lease WHERE usp_lease.held_until < CURRENT_TIMESTAMP": "clock",
    "UPDATE usp_lease SET held_until=SYSDATE WHERE usp_lease.name = :name_1": "clock",
    "SELECT CAST(SYSTIMESTAMP AS TIMESTAMP) FROM DUAL": "SYSTIMESTAMP",
    "INSERT INTO usp_guard (id) VALUES (1) ON CONFLICT DO NOTHING": "ON CONFLICT",
    "INSERT OR REPLACE INTO usp_guard (id) VALUES (1)": "ON CONFLICT",
    "INSERT INTO usp_guard (id) VALUES (:a), (:b)": "one row per VALUES",
    "SELECT usp_lease.name FROM usp_lease FETCH FIRST 1 ROWS ONLY FOR UPDATE SKIP LOCKED": "ORA-02014",
    "SELECT DISTINCT usp_lease.holder FROM usp_lease FOR UPDATE": "ORA-02014",
    "INSERT INTO usp_event (action) VALUES (:action) RETURNING usp_event.id": "RETURNING",
    "SELECT EXISTS (SELECT usp_item.id FROM usp_item) FROM DUAL": "EXISTS",
    "SELECT 1": "SELECT wants FROM",
    "SELECT usp_item.id::text FROM usp_item": "cast",
    "CREATE TABLE usp_x (id INTEGER NOT NULL, doc JSON, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "JSON",
    "SELECT usp_item.facts ->> 'bits' FROM usp_item": "JSON",
    "CREATE TABLE usp_x (id BIGINT NOT NULL, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "a type",
    "ALTER TABLE usp_item ADD notes TEXT": "a type",
    "CREATE TABLE usp_x (id INTEGER NOT NULL, made DATE, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "DATE loses",
    "ALTER TABLE usp_item ADD seen TIMESTAMP WITH TIME ZONE": "without a zone",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.name = ''": "empty text",
    "ALTER TABLE usp_user ADD nick VARCHAR2(20 CHAR) DEFAULT '' NOT NULL": "empty text",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.name ILIKE :name_1": "ILIKE",
    "CREATE TABLE IF NOT EXISTS usp_x (id INTEGER NOT NULL, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "IF [NOT] EXISTS",
    "DROP TABLE IF EXISTS usp_x": "IF [NOT] EXISTS",
    "SELECT i.id FROM usp_item AS i": "no AS",
    "UPDATE usp_token SET role=u.role FROM usp_user u WHERE usp_token.user_id = u.id": "UPDATE ... FROM",
    "DELETE FROM usp_token USING usp_user WHERE usp_token.user_id = usp_user.id": "USING",
    "CREATE TABLE usp_x (id INTEGER NOT NULL PRIMARY KEY)": "wants a name",
    "CREATE TABLE usp_x (id INTEGER NOT NULL, PRIMARY KEY (id))": "wants a name",
    "CREATE TABLE usp_x (a INTEGER NOT NULL, CONSTRAINT usp_x_pk PRIMARY KEY (a), UNIQUE (a))": "wants a name",
    "WITH RECURSIVE t (n) AS (SELECT 1 FROM DUAL) SELECT n FROM usp_t": "RECURSIVE",
    "SELECT id FROM usp_item EXCEPT SELECT item_id FROM usp_item_revision": "MINUS",
    "SELECT string_agg(usp_item.name, 'x') FROM usp_item": "function",
    "SELECT date_trunc('day', usp_event.made_at) FROM usp_event": "function",
    "CREATE TABLE usp_x (id INTEGER AUTOINCREMENT, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "IDENTITY",
    "DELETE FROM usp_event;": "semicolon",
    "SELECT `name` FROM usp_item": "backquotes",
    "ALTER TABLE usp_user ADD COLUMN nick VARCHAR2(20 CHAR)": "without COLUMN",
    "ALTER TABLE usp_user ALTER COLUMN name TYPE VARCHAR2(20 CHAR)": "MODIFY",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.id = $1": "binds",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.id = %(id)s": "binds",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.id = :_id": "begins with a letter",
    "CREATE INDEX CONCURRENTLY usp_x_ix ON usp_item (name)": "CONCURRENTLY",
    "CREATE INDEX usp_x_ix ON usp_item (name) WHERE kind = 'rules'": "no WHERE",
    "CREATE TABLE usp_x (id VARCHAR2(36) NOT NULL, CONSTRAINT usp_x_pk PRIMARY KEY (id))": "in CHAR",
    "ALTER TABLE usp_user ADD nick VARCHAR2": "with a length",
    "ALTER TABLE usp_user ADD nick VARCHAR2(5000 CHAR)": "4000 bytes",
    "DROP TABLE usp_item CASCADE": "CASCADE CONSTRAINTS",
    "TRUNCATE TABLE usp_event": "TRUNCATE",
    "CREATE TABLE usp_x (audit INTEGER, CONSTRAINT usp_x_pk PRIMARY KEY (audit))": "audit is a reserved",
    "SELECT usp_x.online FROM usp_x": "online is a reserved",
    "INSERT INTO usp_x (id, session) VALUES (:a, :b)": "session is a reserved",
    "UPDATE usp_x SET file=:a WHERE usp_x.id = :b": "file is a reserved",
    "ALTER TABLE usp_x ADD access INTEGER": "access is a reserved",
    "SELECT usp_x.id FROM usp_x WHERE usp_x.id = :level": "bind level",
    "CREATE INDEX usp_an_index_with_a_name_much_too_long_ix ON usp_item (name)": "longer than 30",
    "SELECT item.id FROM item": "prefix",
    "SELECT usp_item.id FROM usp_item WHERE usp_item.document = :a": "CLOB is not compared",
    "SELECT usp_item.id FROM usp_item ORDER BY usp_item.facts": "CLOB is neither",
    "SELECT DISTINCT usp_server.report FROM usp_server": "DISTINCT",
    "CREATE INDEX usp_x_ix ON usp_version (content)": "CLOB is not indexed",
    f"SELECT usp_x.id FROM usp_x WHERE usp_x.id IN ({', '.join(f':i{n}' for n in range(1001))})": "ORA-01795",
}


def test_there_are_enough_mistakes() -> None:
    assert len(MISTAKES) >= 60


@pytest.mark.parametrize("statement", MISTAKES)
def test_a_planted_mistake_is_found(statement: str) -> None:
    found = findings(statement)
    assert any(MISTAKES[statement] in finding for finding in found), found


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT CAST(SYSTIMESTAMP AT TIME ZONE 'UTC' AS TIMESTAMP) AS utc_now_1 FROM DUAL",
        "SELECT usp_guard.id FROM usp_guard FOR UPDATE",
        "SELECT usp_user.id FROM usp_user WHERE usp_user.enabled = :enabled_1 FETCH FIRST :param_1 ROWS ONLY",
        "UPDATE usp_x SET runner=:runner WHERE usp_x.id = :id_1 AND (usp_x.runner IS NULL OR usp_x.runner = :runner_1)",
        "INSERT INTO usp_event (made_at, action) VALUES (:made_at, :action) RETURNING usp_event.id INTO :ret_0",
        "SELECT usp_event.id FROM usp_event WHERE (usp_event.action LIKE :action_1 || '%' ESCAPE '/')",
        "SELECT usp_x.id FROM usp_x WHERE usp_x.what = 'LIMIT 5; it''s NOW() true'",
        "ALTER TABLE usp_user DROP COLUMN failures",
        "DROP TABLE usp_user CASCADE CONSTRAINTS",
        "SET TRANSACTION READ ONLY",
    ],
)
def test_what_is_right_is_let_through(statement: str) -> None:
    assert findings(statement) == []


def test_the_schema_is_right() -> None:
    dialect: Dialect = OracleDialect_oracledb()  # type: ignore[no-untyped-call]
    for table in schema.metadata.tables.values():
        assert findings(str(CreateTable(table).compile(dialect=dialect))) == []
        for index in table.indexes:
            assert findings(str(CreateIndex(index).compile(dialect=dialect))) == []
