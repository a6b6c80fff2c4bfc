"""The log of every process of the suite: structlog in front, one bounded queue and one writer thread behind.

A line is an event with fields: `log.info("session.ended", outcome="completed")`. Nothing that is logged can block the
event loop: a line that does not fit the queue is dropped and counted. Several processes may append to one file (one
O_APPEND write per line); only the one told to rotates it, the others notice that the file has been replaced.

Every line says who speaks (`context`: the server, its configuration) and, where `bound`, in which session. Warnings and
errors that repeat are told a few times and then summed up (`usp.repeats`), refusals too; other lines are all told.

Libraries that log through `logging` come out here too, at the levels of `_LIBRARIES`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from usp.errors import UspError
from usp.logfile import STDOUT, Writer
from usp.repeats import WINDOW, Key, Repeats
from usp.secret import Secret
from usp.settings import LogFormat, LogLevel, LogSettings

Fields = MutableMapping[str, Any]
RANK: Final[Mapping[LogLevel, int]] = {level: rank for rank, level in enumerate(LogLevel)}

_LIBRARIES: Final[Mapping[str, Mapping[int, LogLevel]]] = {
    # asyncssh tells every connection and every failed login at INFO: that is our own sessions' business.
    "asyncssh": {logging.DEBUG: LogLevel.TRACE, logging.INFO: LogLevel.DEBUG, logging.WARNING: LogLevel.DEBUG},
    "aiohttp": {logging.DEBUG: LogLevel.TRACE, logging.INFO: LogLevel.DEBUG},
    "uvicorn": {logging.DEBUG: LogLevel.TRACE, logging.INFO: LogLevel.DEBUG},
    "asyncio": {logging.DEBUG: LogLevel.TRACE, logging.INFO: LogLevel.TRACE},
    # These tell the values that go into the database, hashes of passwords among them.
    "aiosqlite": {},
    "sqlalchemy": {},
    "": {logging.DEBUG: LogLevel.TRACE, logging.INFO: LogLevel.DEBUG},
}
"""logger (and those below it) -> how its levels are told; what is not here is WARN or ERROR."""


class _State:
    """What `setup` sets: one per process."""

    def __init__(self) -> None:
        self.rank = RANK[LogLevel.WARN]
        self.format = LogFormat.TEXT
        self.journal = False  # standard output is systemd's journal
        self.component = "usp"
        self.context: dict[str, Any] = {}
        self.writer: Writer | None = None
        self.repeats = Repeats()
        self.counting = threading.Lock()  # lines come from threads, too


class Logger(structlog.BoundLoggerBase):
    """`log.info(event, **fields)`. An exception goes into `exc_info=`; a UspError shows its code and problems."""

    def trace(self, event: str, **fields: Any) -> None:
        self._log(LogLevel.TRACE, event, fields)

    def debug(self, event: str, **fields: Any) -> None:
        self._log(LogLevel.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(LogLevel.INFO, event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        self._log(LogLevel.WARN, event, fields)

    warning = warn

    def error(self, event: str, **fields: Any) -> None:
        self._log(LogLevel.ERROR, event, fields)

    def is_on(self, level: LogLevel) -> bool:
        return RANK[level] >= _state.rank

    def _log(self, level: LogLevel, event: str, fields: dict[str, Any]) -> None:
        if RANK[level] >= _state.rank:
            self._proxy_to_logger("write", event, _level=level.value, **fields)


class _Sink:
    """Where structlog hands over the finished line."""

    def write(self, line: str) -> None:
        if _state.writer is None:  # before `setup`, and in tests
            sys.stderr.write(line)
        else:
            _state.writer.put(line.encode("utf-8", "backslashreplace"))


def get_logger(name: str) -> Logger:
    """The logger of a module; `name` is for the reader of the code only, the log tells events."""
    del name
    return Logger(_Sink(), [structlog.contextvars.merge_contextvars, _expand, _once, _rendered], {})


def bound(**fields: Any) -> AbstractContextManager[Any]:
    """`with bound(session=id):` adds the fields to every line of this task and of the tasks that it spawns."""
    return structlog.contextvars.bound_contextvars(**fields)


def bind(**fields: Any) -> None:
    """Like `bound`, to the end of this task."""
    structlog.contextvars.bind_contextvars(**fields)


def unbind() -> None:
    """From here on this task speaks for nobody in particular."""
    structlog.contextvars.clear_contextvars()


def context(**fields: Any) -> None:
    """From now on every line of this process says so, unless it says otherwise itself. None takes a field back."""
    known = {**_state.context, **fields}
    _state.context = {name: value for name, value in known.items() if value is not None}


def setup(settings: LogSettings, component: str, *, rotate: bool = True) -> None:
    """Direct this process's log. Exactly one of the processes that share a file has `rotate`."""
    shutdown()
    _state.component = component
    _state.repeats = Repeats()
    _state.format = settings.format
    _state.journal = not settings.path and _is_journal(os.environ.get("JOURNAL_STREAM", ""))
    _state.writer = Writer(
        settings.path,
        max_size=settings.max_size * 1_000_000 if rotate else 0,
        max_backups=settings.max_backups,
        max_age=settings.max_age,
        on_dropped=_dropped_line,
        summaries=lambda: _summaries(time.monotonic()),
    )
    set_level(settings.level)
    logging.root.handlers[:] = [_Bridge()]


def _is_journal(stream: str) -> bool:
    """Whether standard output is what systemd names there: DEVICE:INODE (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(STDOUT)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def set_level(level: LogLevel) -> None:
    """From now on `level` and above are told."""
    _state.rank = RANK[level]
    for name, levels in _LIBRARIES.items():
        told = [number for number, as_level in levels.items() if RANK[as_level] >= _state.rank]
        logging.getLogger(name).setLevel(min(told, default=logging.WARNING))


def reopen() -> None:
    """Open the file anew (SIGHUP)."""
    if _state.writer is not None:
        _state.writer.reopen()


def dropped() -> int:
    """Lines lost since the start, because the output was too slow or broken."""
    return 0 if _state.writer is None else _state.writer.dropped


def queued() -> int:
    """Lines that wait for the output."""
    return 0 if _state.writer is None else _state.writer.queued


def _dropped_line(count: int) -> bytes:
    return _render(LogLevel.WARN, "log.dropped", {"lines": count}).encode()


def _summaries(now: float) -> Iterator[bytes]:
    """A line for each whose repetitions were held back, once its time is over."""
    with _state.counting:
        due = _state.repeats.due(now)
    for key, count in due.items():
        line = _render(key.level, key.event, {**dict(key.told), "repeated": count})
        yield line.encode("utf-8", "backslashreplace")


def shutdown() -> None:
    """Write what is queued, for a moment at most. Later lines go to stderr."""
    writer, _state.writer = _state.writer, None
    if writer is not None:
        for line in _summaries(time.monotonic() + WINDOW):
            writer.put(line)
        writer.close()
    _state.context = {}


# --- from an event to a line ---

_PRIORITY: Final[Mapping[LogLevel, str]] = {
    LogLevel.TRACE: "<7>",
    LogLevel.DEBUG: "<7>",
    LogLevel.INFO: "<6>",
    LogLevel.WARN: "<4>",
    LogLevel.ERROR: "<3>",
}
"""How a line begins that the journal is to file under its level (sd-daemon(3)); the journal takes it off."""

_BARE: Final = re.compile(r"[\w./:@+,*-]+")

_TELLING: Final = (
    "code",
    "reason",
    "outcome",
    "listener",
    "target",
    "address",
    "tunnel",
    "server",
    "slot",
    "sink",
    "what",
)
"""By these fields a line says the same as another one. (Of a bug and of libraries: by the words, too.)"""
_WORDS: Final = ("error", "message")


def _expand(_: Any, __: str, fields: Fields) -> Fields:
    """An exception becomes fields: a failure is told by its code, a bug with its traceback."""
    error = fields.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, UspError):
        shown: dict[str, Any] = {"code": error.code, "error": error.message, **error.facts}
        if error.problems:
            shown["problems"] = [str(problem) for problem in error.problems]
        return {**shown, **fields}
    if isinstance(error, BaseException):
        fields["error"] = f"{type(error).__name__}: {error}"
        fields["traceback"] = "".join(traceback.format_exception(error))
    return fields


def _once(_: Any, __: str, fields: Fields) -> Fields:
    """Nothing, of a warning or refusal that was told often enough."""
    level = LogLevel(fields["_level"])
    limited = RANK[level] >= RANK[LogLevel.WARN] or fields["event"].endswith(".refused")
    if not limited or _state.writer is None:
        return fields
    names = _TELLING if "code" in fields else (*_TELLING, *_WORDS)
    key = Key(level, fields["event"], tuple((name, str(fields[name])) for name in names if name in fields))
    with _state.counting:
        held = _state.repeats.holds(key, time.monotonic())
    if held:
        raise structlog.DropEvent
    return fields


def _rendered(_: Any, __: str, fields: Fields) -> str:
    return _render(fields.pop("_level"), fields.pop("event"), fields)


def _render(level: str, event: str, fields: Fields) -> str:
    line = _line(level, event, {**fields, **{name: at for name, at in _state.context.items() if name not in fields}})
    return f"{_PRIORITY[LogLevel(level)]}{line}" if _state.journal else line


def _line(level: str, event: str, fields: Fields) -> str:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    if _state.format is LogFormat.JSON:
        return _json({"time": time, "level": level, "component": _state.component, "event": event, **_renamed(fields)})
    words = [time, f"{level:5}", _state.component, _word(event)]
    words += [f"{name}={_word(value)}" for name, value in fields.items()]
    return " ".join(words) + "\n"


def _renamed(fields: Fields) -> Fields:
    """A field must not pass itself off as one of the line's own."""
    taken = ("time", "level", "component", "event")
    return {f"{name}_" if name in taken else name: value for name, value in fields.items()}


def _word(value: object) -> str:
    """Bare where it cannot be misread, else as JSON: a line stays one line, whatever a partner puts into a name."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, Secret) else _json(value).rstrip("\n")
    return text if not isinstance(value, str) or _BARE.fullmatch(text) else json.dumps(text)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_APPEND_NEWLINE).decode()
    except TypeError:  # a lone surrogate or a number that orjson does not take
        return json.dumps(value, default=str) + "\n"


# --- libraries ---


class _Bridge(logging.Handler):
    """Takes the records of `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        library = record.name.partition(".")[0]
        levels = _LIBRARIES.get(library, _LIBRARIES[""])
        level = levels.get(record.levelno) or (LogLevel.WARN if record.levelno < logging.ERROR else LogLevel.ERROR)
        try:
            message = record.getMessage()
        except Exception:  # a library's faulty log call is not our failure
            message = str(record.msg)
        exception = record.exc_info[1] if record.exc_info else None
        _library_log._log(level, f"{library}.log", {"message": message, "exc_info": exception})


_state: Final = _State()
_library_log: Final = get_logger("logging")
