"""What a relay's records look like in the audit log. Pure: the session adds who, when and where.

One JSON object per fact; `outcome` is `ok`, `failed`, `denied`, `observed` (a policy that only observes would have
denied it) or `unfinished` (the session ended before the target answered). `docs` and dashboards rely on the names here.
"""

from __future__ import annotations

from typing import Final

from usp.sftp.records import Changed, FileClosed, LeftBehind, Observed, Opened, Record, Scanned, printable

JsonValue = str | int | float

_STATUS_OK: Final = 0


def facts(record: Record) -> dict[str, JsonValue]:
    """`event`, paths, figures and `outcome` of a record."""
    match record:
        case Opened():
            return {
                "event": "directory.opened" if record.directory else "file.opened",
                "path": printable(record.path),
                **({} if record.directory else {"mode": _mode(record.reads, record.writes)}),
                **_outcome(record.status),
            }
        case FileClosed():
            return {
                "event": "file.closed",
                "path": printable(record.path),
                "mode": _mode(record.reads, record.writes),
                "bytes_read": record.bytes_read,
                "bytes_written": record.bytes_written,
                "failures": record.failures,
                **(
                    {"outcome": "failed"}
                    if record.status == _STATUS_OK and record.failures
                    else _outcome(record.status)
                ),
            }
        case Changed():
            return {"event": _named(record.op), **_paths(record.paths), **_outcome(record.status)}
        case Observed():
            reason = record.reason
            return {"event": _named(record.op), **_paths(record.paths), "reason": reason, "outcome": "observed"}
        case Scanned():
            return {
                "event": "file.scanned",
                "path": printable(record.path),
                "verdict": str(record.finding),
                **({"text": record.text} if record.text else {}),
                "size": record.size,
                "outcome": "ok" if record.passed else "denied",
            }
        case LeftBehind():
            paths = _paths((record.path, record.real))
            return {"event": "file.left_behind", **paths, **_outcome(record.status)}
    return {  # Denied
        "event": _named(record.op),
        **_paths(record.paths),
        "status": record.status,
        "reason": record.reason,
        "outcome": "denied",
    }


def _named(op: str) -> str:
    return "file." + op.partition("@")[0]


def _outcome(status: int | None) -> dict[str, JsonValue]:
    if status is None:
        return {"outcome": "unfinished"}
    if status == _STATUS_OK:
        return {"outcome": "ok"}
    return {"status": status, "outcome": "failed"}


def _paths(paths: tuple[bytes, ...]) -> dict[str, JsonValue]:
    texts = [printable(path) for path in paths]
    return {"path": texts[0], **({"to": texts[1]} if len(texts) > 1 else {})} if texts else {}


def _mode(reads: bool, writes: bool) -> str:
    return "r" * reads + "w" * writes
