"""What a relay's records look like in the audit log (docs/audit.md). Pure: the session adds who, when and where.

A file has one event, when it is closed or the session ends; an open has one only if it failed.

One JSON object per fact; `outcome` is `ok`, `failed`, `denied`, `observed` (a policy that only observes would have
denied it) or `unfinished` (the session ended before the target answered). `docs` and dashboards rely on the names here.
"""

from __future__ import annotations

from collections.abc import Callable
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
                **_outcome(record.status, record.text),
            }
        case FileClosed():
            return _closed(record)
        case Changed():
            return {"event": _named(record.op), **_paths(record.paths), **_outcome(record.status, record.text)}
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


def sent(record: Record, at_target: Callable[[bytes], bytes]) -> dict[str, JsonValue]:
    """The paths as they were sent to the target, where that sees others than the partner."""
    match record:
        case Opened() | FileClosed() | Scanned():
            return {"sent": printable(at_target(record.path))}
        case LeftBehind():
            return {"sent": printable(at_target(record.path)), "sent_to": printable(at_target(record.real))}
        case Changed():
            texts = [printable(at_target(path)) for path in record.paths]
            return {"sent": texts[0], **({"sent_to": texts[1]} if len(texts) > 1 else {})} if texts else {}
    return {}


def _closed(record: FileClosed) -> dict[str, JsonValue]:
    """What was not is left out, so that many small files make short lines."""
    spent, moved = record.spent, record.bytes_read + record.bytes_written
    told: dict[str, JsonValue] = {
        "event": "file.closed",
        "path": printable(record.path),
        "mode": _mode(record.reads, record.writes),
        "direction": _direction(record),
        "bytes_read": record.bytes_read,
        "bytes_written": record.bytes_written,
        "failures": record.failures,
        "seconds": round(spent.total, 6),
        "waited_partner": round(spent.partner, 6),
        "waited_target": round(spent.target, 6),
    }
    if spent.tunnel:
        told["waited_tunnel"] = round(spent.tunnel, 6)
    if spent.gateway:
        told["waited_gateway"] = round(spent.gateway, 6)
    if spent.total > 0:
        told["rate"] = round(moved / spent.total)
    if record.complete is not None:
        told["ranges"] = "complete" if record.complete else "partial"
    if record.eof:
        told["eof"] = True
    if record.sha256:
        told["sha256"] = record.sha256
    if record.unhashed:
        told["sha256_reason"] = record.unhashed
    failed = record.status == _STATUS_OK and record.failures
    return {**told, **({"outcome": "failed"} if failed else _outcome(record.status, record.text))}


def _direction(record: FileClosed) -> str:
    if record.bytes_read and record.bytes_written:
        return "both"
    if record.bytes_read or (not record.bytes_written and not record.writes):
        return "download"
    return "upload"


def _outcome(status: int | None, text: bytes = b"") -> dict[str, JsonValue]:
    if status is None:
        return {"outcome": "unfinished"}
    if status == _STATUS_OK:
        return {"outcome": "ok"}
    return {"status": status, **({"text": printable(text)} if text else {}), "outcome": "failed"}


def _paths(paths: tuple[bytes, ...]) -> dict[str, JsonValue]:
    texts = [printable(path) for path in paths]
    return {"path": texts[0], **({"to": texts[1]} if len(texts) > 1 else {})} if texts else {}


def _mode(reads: bool, writes: bool) -> str:
    return "r" * reads + "w" * writes
