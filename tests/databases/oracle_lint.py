"""What an Oracle Database (19c to 23ai) would refuse or take otherwise than meant, found in a statement's text.

No validator that can be had refuses these (sqlglot and the test server take them all), so the rules are ours: one table
of patterns, a few functions. tests/unit/test_oracle_lint.py has the corpus of planted mistakes. What it cannot see:
whether names exist, and types of what is bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Text
from sqlalchemy.types import TypeDecorator

from usp.manager.store.schema import metadata

RESERVED_WORDS: Final = """
    access add all alter and any as asc audit between by char check cluster column comment compress connect create
    current date decimal default delete desc distinct drop else exclusive exists file float for from grant group having
    identified immediate in increment index initial insert integer intersect into is level like lock long maxextents
    minus mlslabel mode modify noaudit nocompress not nowait null number of offline on online option or order pctfree
    prior public raw rename resource revoke row rowid rownum rows select session set share size smallint start
    successful synonym sysdate table then to trigger uid union unique update user validate values varchar varchar2 view
    whenever where with
"""
RESERVED: Final = frozenset(RESERVED_WORDS.split())
NAME_BYTES: Final = 30  # longer ones exist since 12.2, and are cut by nobody; ours fit everywhere
IN_LIST: Final = 1000
VARCHAR: Final = 4000

_PATTERNS: Final[tuple[tuple[str, str], ...]] = (
    ("LIMIT is FETCH FIRST n ROWS ONLY", r"\bLIMIT\b"),
    ("OFFSET wants ROWS", r"\bOFFSET\s+\S+(?!\s+ROWS\b)(\s|$)"),
    ("no BOOLEAN before 23ai", r"\bBOOL(EAN)?\b"),
    ("no TRUE and FALSE before 23ai", r"\b(TRUE|FALSE)\b"),
    ("IS is for NULL only", r"\bIS\s+(NOT\s+)?(?!NOT\b|NULL\b|JSON\b|OF\b|EMPTY\b)[\w:]+"),
    (
        "a clock that is not SYSTIMESTAMP in UTC",
        r"\bNOW\s*\(|\b(CURRENT_TIMESTAMP|LOCALTIMESTAMP|CURRENT_DATE|SYSDATE)\b",
    ),
    ("SYSTIMESTAMP without AT TIME ZONE 'UTC'", r"\bSYSTIMESTAMP\b(?!\s+AT\s+TIME\s+ZONE\b)"),
    ("no ON CONFLICT: conditional UPDATE, then INSERT", r"\bON\s+CONFLICT\b|\bON\s+DUPLICATE\b|\bINSERT\s+OR\b"),
    ("one row per VALUES before 23ai", r"\bVALUES\s*\(([^()]|\([^()]*\))*\)\s*,\s*\("),
    ("FOR UPDATE of more than plain rows: ORA-02014", r"\b(FETCH\s+FIRST|DISTINCT|GROUP\s+BY)\b.*\bFOR\s+UPDATE\b"),
    ("RETURNING wants INTO", r"\bRETURNING\b(?!.*\bINTO\b)"),
    ("EXISTS is a condition before 23ai, no value", r"\bSELECT\s+(NOT\s+)?EXISTS\b|,\s*EXISTS\s*\("),
    ("SELECT wants FROM before 23ai", r"^\s*SELECT\b(?!.*\bFROM\b)"),
    ("a cast of PostgreSQL's", r"::\s*\w+"),
    ("no JSON type before 21c", r"\bJSONB?\b(?!_)(?!\s*\()|->>?"),
    (
        "a type that Oracle lacks",
        r"\b(TEXT|BIGINT|SERIAL|BIGSERIAL|BYTEA|UUID|TIMESTAMPTZ|DATETIME|TINYINT|MEDIUMTEXT|DOUBLE(?!\s+PRECISION))\b",
    ),
    ("DATE loses fractions of a second: TIMESTAMP", r"^\s*(CREATE|ALTER)\b.*\bDATE\b"),
    ("TIMESTAMP without a zone, in UTC", r"\bTIMESTAMP(\s*\(\d\))?\s+WITH\b"),
    ("the empty text is NULL", r"(=|<>|!=|\bDEFAULT|\bIN\s*\(|,)\s*''"),
    ("no ILIKE", r"\bILIKE\b"),
    ("IF [NOT] EXISTS is 23ai's", r"\bIF\s+(NOT\s+)?EXISTS\b"),
    ("no AS before a table's alias", r"\b(FROM|JOIN)\s+\w+\s+AS\b"),
    ("no ON UPDATE", r"\bON\s+UPDATE\b"),
    ("no UPDATE ... FROM before 23ai", r"^\s*UPDATE\b(?:(?!\bSELECT\b).)*\bSET\b(?:(?!\bSELECT\b).)*\bFROM\b"),
    ("no DELETE ... USING", r"^\s*DELETE\b.*\bUSING\b"),
    (
        "a constraint wants a name",
        r"(?<!\w)(?<!CONSTRAINT )(?:,|\(|\bNULL|\))\s*(PRIMARY\s+KEY|UNIQUE\s*\(|FOREIGN\s+KEY|CHECK\s*\()",
    ),
    (
        "a constraint wants a name",
        r"^\s*CREATE\s+TABLE\b.*\w\s+(?:NOT\s+NULL\s+)?(PRIMARY\s+KEY|UNIQUE|REFERENCES)\b(?!\s*\()(?<!\)\sREFERENCES)",
    ),
    ("no RECURSIVE", r"\bWITH\s+RECURSIVE\b"),
    ("EXCEPT is MINUS", r"\bEXCEPT\b"),
    (
        "a function of other engines",
        r"\b(STRING_AGG|GROUP_CONCAT|DATE_TRUNC|RANDOM|IFNULL|ISNULL|STRFTIME|UNIX_TIMESTAMP|GEN_RANDOM_UUID|LEFT|RIGHT"
        r"|TO_JSON|ARRAY_AGG|POSITION)\s*\(",
    ),
    ("numbers rows by GENERATED ... AS IDENTITY", r"\bAUTO_?INCREMENT\b"),
    ("no semicolon at the end", r";\s*$"),
    ("names are not in backquotes", r"`"),
    ("ADD, without COLUMN", r"\bADD\s+COLUMN\b"),
    ("MODIFY, not ALTER COLUMN", r"\bALTER\s+COLUMN\b"),
    ("an interval of PostgreSQL's", r"\bINTERVAL\s+''(?!\s+(DAY|HOUR|MINUTE|SECOND|YEAR|MONTH))"),
    ("binds are :name", r"(?<![\w'])(\$\d+|%s|%\(\w+\)s)|(?<=[=(,])\s*\?"),
    ("a bind's name begins with a letter", r":[_\d]"),
    ("no CONCURRENTLY", r"\bCONCURRENTLY\b"),
    ("an index has no WHERE", r"^\s*CREATE\s+(UNIQUE\s+)?INDEX\b.*\bWHERE\b"),
    ("length of texts in CHAR", r"\bVARCHAR2?\s*\(\s*\d+\s*\)"),
    ("VARCHAR2, with a length", r"\bVARCHAR\b|\bVARCHAR2\b(?!\s*\()"),
    ("transactions begin by themselves", r"^\s*(BEGIN(?!\s+\S)|START\s+TRANSACTION|RELEASE)\b"),
    ("DROP TABLE ... CASCADE CONSTRAINTS", r"\bCASCADE\b(?!\s+CONSTRAINTS)(?<!DELETE\sCASCADE)"),
    ("TRUNCATE commits", r"^\s*TRUNCATE\b"),
    ("no LATERAL joins of PostgreSQL's", r"\bDISTINCT\s+ON\b"),
)
RULES: Final = tuple((what, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for what, pattern in _PATTERNS)

_OF_THE_DRIVER: Final = re.compile(
    r"\b(all_\w+|sys_context|dbms_transaction)\b|^\s*SELECT 1\.1 FROM DUAL|^\s*SET TRANSACTION", re.I
)
"""SQLAlchemy's own questions to the dictionary, which Oracle Databases answer every day."""

CLOBS: Final = frozenset(
    column.name
    for table in metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, Text) or (isinstance(column.type, TypeDecorator) and isinstance(column.type.impl, Text))
)


def findings(statement: str) -> list[str]:
    """What is wrong with it, with the statement."""
    if _OF_THE_DRIVER.search(statement):
        return []
    text = re.sub(r"'(?:[^']|'')+'", lambda match: "''" if match[0] == "''" else "'x'", statement)
    empty = re.sub(r"'x'", "1", text)  # literals are values; only empty ones are of interest
    found = [what for what, pattern in RULES if pattern.search(empty)]
    found += [
        what for check in (_names, _binds, _lists, _clobs, _tables, _lengths, _constraints) for what in check(empty)
    ]
    return [f"{what}: {' '.join(statement.split())}" for what in dict.fromkeys(found)]


def _identifiers(text: str) -> Iterator[str]:
    """Names that are ours to choose: tables, columns, constraints, indexes, aliases."""
    yield from re.findall(r"\w\.(\w+)", text)
    yield from re.findall(
        r"\bAS\s+(?!IDENTITY\b|TIMESTAMP\b|SELECT\b|INTEGER\b|NUMBER\b|VARCHAR2\b|CLOB\b)(\w+)", text, re.I
    )
    yield from re.findall(r"\b(?:CONSTRAINT|INDEX|TABLE|INTO|UPDATE|ADD|DROP\s+COLUMN|RENAME\s+TO)\s+(\w+)", text, re.I)
    for columns in re.findall(r"\bINSERT\s+INTO\s+\w+\s*\(([^()]*)\)", text, re.I):
        yield from re.findall(r"\w+", columns)
    if assigned := re.search(r"^\s*UPDATE\b.*?\bSET\b(.*?)(\bWHERE\b|$)", text, re.I | re.S):
        yield from re.findall(r"(?:^|,)\s*(\w+)\s*=", assigned[1])
    for entry in _entries(text):
        if entry[0].upper() not in _CONSTRAINTS:
            yield entry[0]


_CONSTRAINTS: Final = ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK")


def _entries(text: str) -> Iterator[list[str]]:
    """What a CREATE TABLE lists: columns and constraints, as words."""
    if body := re.search(r"^\s*CREATE\s+TABLE\s+\w+\s*\((.*)\)", text, re.I | re.S):
        yield from filter(None, (entry.split() for entry in re.split(r",(?![^()]*\))", body[1])))


def _constraints(text: str) -> Iterator[str]:
    for entry in _entries(text):
        named = entry[0].upper() == "CONSTRAINT"
        if not named and re.search(r"\b(PRIMARY|UNIQUE|FOREIGN|CHECK|REFERENCES)\b", " ".join(entry), re.I):
            yield "a constraint wants a name"


_SYNTAX: Final = frozenset({"constraint", "column", "into", "of", "nowait", "index", "set"})


def _names(text: str) -> Iterator[str]:
    for name in _identifiers(text):
        if name.lower() in RESERVED - _SYNTAX or (name.lower() in _SYNTAX and f".{name}" in text):
            yield f"{name} is a reserved word"
        if len(name.encode()) > NAME_BYTES:
            yield f"{name} is longer than {NAME_BYTES} bytes"


def _binds(text: str) -> Iterator[str]:
    for name in re.findall(r"(?<![:\w]):(\w+)", text):
        if name.lower() in RESERVED:
            yield f"the bind {name} is a reserved word"


def _lists(text: str) -> Iterator[str]:
    for inside in re.findall(r"\bIN\s*\(([^()]*)\)", text, re.I):
        if inside.count(",") >= IN_LIST:
            yield f"more than {IN_LIST} elements in a list: ORA-01795"


def _clobs(text: str) -> Iterator[str]:
    """Columns that are CLOBs are not compared, sorted, grouped or indexed."""
    clob = rf"(?:\w+\.)?(?:{'|'.join(sorted(CLOBS))})\b"
    condition = re.search(r"\bWHERE\b(.*)", text, re.I | re.S)
    if condition and re.search(rf"(?<!\w){clob}\s*(=|<|>|!=|\bIN\b)", condition[1], re.I):
        yield "a CLOB is not compared"
    if re.search(rf"\b(ORDER|GROUP)\s+BY\b[^()]*(?<!\w){clob}", text, re.I):
        yield "a CLOB is neither sorted nor grouped"
    if re.search(rf"\bSELECT\s+DISTINCT\b[^()]*(?<!\w){clob}", text, re.I):
        yield "a CLOB is not told apart by DISTINCT"
    if re.search(rf"^\s*CREATE\s+(UNIQUE\s+)?INDEX\b.*\([^()]*(?<!\w){clob}[^()]*\)", text, re.I | re.S):
        yield "a CLOB is not indexed"


def _tables(text: str) -> Iterator[str]:
    pattern = r"\b(?:FROM|JOIN|INTO|(?<!FOR )UPDATE|TABLE|REFERENCES)\s+(?!SELECT\b|DUAL\b)([a-zA-Z]\w*)"
    for name in re.findall(pattern, re.sub(r"\bRETURNING\b.*", "", text, flags=re.S | re.I), re.I):
        if not name.lower().startswith("usp_"):
            yield f"the table {name} lacks the prefix usp_"


def _lengths(text: str) -> Iterator[str]:
    for length in re.findall(r"\bVARCHAR2\s*\(\s*(\d+)", text, re.I):
        if int(length) > VARCHAR:
            yield f"a VARCHAR2 has {VARCHAR} bytes at the most"
