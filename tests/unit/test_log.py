"""What a line looks like, what gets into it, and what does not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from usp import log, logfile
from usp.errors import Problem, UspError
from usp.repeats import PER_KEY, Repeats
from usp.secret import Secret
from usp.settings import LogFormat, LogLevel, LogSettings

logger = log.get_logger(__name__)
Lines = Callable[[], list[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.log"


def start(path: Path, level: LogLevel = LogLevel.TRACE, format: LogFormat = LogFormat.TEXT) -> None:
    log.setup(LogSettings(path=str(path), level=level, format=format), "usp-test")


def lines(path: Path) -> list[str]:
    """What was logged, without the times."""
    log.shutdown()
    return [line.split(" ", 1)[1] for line in path.read_text().splitlines()]


def objects(path: Path) -> list[dict[str, Any]]:
    log.shutdown()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_text_form(path: Path) -> None:
    start(path)
    logger.info("session.ended", outcome="completed", bytes=5, user="a b", ok=True, none=None, list=["x", 1])
    log.shutdown()
    words = path.read_text().split(" ", 1)
    assert len(words[0]) == len("2026-11-23T12:00:00.123Z")
    assert words[0].endswith("Z")
    assert words[1] == (
        'INFO  usp-test session.ended outcome=completed bytes=5 user="a b" ok=true none=null list=["x",1]\n'
    )


def test_the_json_form(path: Path) -> None:
    start(path, format=LogFormat.JSON)
    logger.warn("session.ended", outcome="completed", level="mine", big=1 << 70, odd="\udcff")
    (line,) = objects(path)
    assert line.pop("time")
    assert line == {
        "level": "WARN",
        "component": "usp-test",
        "event": "session.ended",
        "outcome": "completed",
        "level_": "mine",
        "big": 1 << 70,
        "odd": "\udcff",
    }


def test_every_level_has_its_word_and_the_threshold_holds(path: Path) -> None:
    start(path, LogLevel.INFO)
    for level in range(2):
        logger.trace("t", n=level)
        logger.debug("d", n=level)
        logger.info("i", n=level)
        logger.warning("w", n=level)
        logger.error("e", n=level)
        assert logger.is_on(LogLevel.TRACE) is (level == 1)
        log.set_level(LogLevel.TRACE)
    assert " ".join(line.split()[0] for line in lines(path)) == "INFO WARN ERROR TRACE DEBUG INFO WARN ERROR"


def test_a_line_stays_one_line_and_secrets_stay_secret(path: Path) -> None:
    start(path)
    logger.info("e", name="a\nb INFO forged x=1", quote='"', eq="a=b", empty="", secret=Secret("hunter2"))
    logger.info("e", nested={"secret": Secret("hunter2")})
    assert lines(path) == [
        'INFO  usp-test e name="a\\nb INFO forged x=1" quote="\\"" eq="a=b" empty="" secret=***',
        'INFO  usp-test e nested={"secret":"***"}',
    ]


def test_a_failure_is_told_by_its_code(path: Path) -> None:
    start(path)
    error = UspError("push.rejected", "no", problems=[Problem(("a",), "b")], version=3)
    logger.error("push", exc_info=error, version=4)
    assert lines(path) == ['ERROR usp-test push code=push.rejected error=no version=4 problems=["a: b"]']


def test_a_bug_is_told_with_its_traceback(path: Path) -> None:
    start(path)
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        logger.error("bug", exc_info=True)
    (line,) = lines(path)
    assert 'error="ZeroDivisionError: oops" traceback="Traceback' in line
    assert "test_log.py" in line


async def test_context_goes_with_the_task(path: Path) -> None:
    start(path)

    async def work(name: str) -> None:
        with log.bound(session=name):
            await asyncio.sleep(0)
            logger.info("inside")
        logger.info("outside")
        log.bind(listener=name)
        logger.info("bound")

    await asyncio.gather(work("a"), work("b"))
    logger.info("after")
    assert sorted(lines(path)) == [
        "INFO  usp-test after",
        "INFO  usp-test bound listener=a",
        "INFO  usp-test bound listener=b",
        "INFO  usp-test inside session=a",
        "INFO  usp-test inside session=b",
        "INFO  usp-test outside",
        "INFO  usp-test outside",
    ]


def test_libraries_are_told_at_their_levels(path: Path) -> None:
    start(path)
    for name in ("asyncssh.sftp", "aiohttp.access", "asyncio", "else"):
        library = logging.getLogger(name)
        library.info("info %s", name)
        library.warning("warning")
    logging.getLogger("uvicorn.error").error("error", exc_info=ZeroDivisionError("oops"))
    told = lines(path)
    assert told[:8] == [
        'DEBUG usp-test asyncssh.log message="info asyncssh.sftp"',
        "DEBUG usp-test asyncssh.log message=warning",
        'DEBUG usp-test aiohttp.log message="info aiohttp.access"',
        "WARN  usp-test aiohttp.log message=warning",
        'TRACE usp-test asyncio.log message="info asyncio"',
        "WARN  usp-test asyncio.log message=warning",
        'DEBUG usp-test else.log message="info else"',
        "WARN  usp-test else.log message=warning",
    ]
    assert told[8].startswith("ERROR usp-test uvicorn.log message=error error=")


def test_libraries_do_no_work_for_lines_that_are_not_told(path: Path) -> None:
    start(path, LogLevel.INFO)
    assert not logging.getLogger("asyncssh").isEnabledFor(logging.INFO)
    assert not logging.getLogger("uvicorn.access").isEnabledFor(logging.INFO)
    assert logging.getLogger("uvicorn.access").isEnabledFor(logging.WARNING)
    log.set_level(LogLevel.TRACE)
    assert logging.getLogger("asyncssh").isEnabledFor(logging.DEBUG)


def test_a_librarys_faulty_call_is_survived(path: Path) -> None:
    start(path)
    logging.getLogger("else").warning("%d", "x")
    assert lines(path) == ['WARN  usp-test else.log message="%d"']


def test_before_setup_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_level(LogLevel.WARN)
    logger.info("quiet")
    logger.warn("loud")
    assert capsys.readouterr().err.endswith(" loud\n")
    assert log.dropped() == 0
    log.reopen()


def test_the_file_is_reopened_when_asked(path: Path) -> None:
    start(path)
    logger.info("one")
    log.shutdown()
    start(path)
    path.rename(path.with_suffix(".moved"))
    log.reopen()
    logger.info("two")
    assert lines(path) == ["INFO  usp-test two"]


def test_lost_lines_are_told() -> None:
    log.setup(LogSettings(path="/dev/full"), "usp-test")
    logger.info("lost")
    writer = log._state.writer
    log.shutdown()
    assert writer is not None
    assert writer.dropped >= 1


def test_what_goes_into_the_database_is_never_told(tmp_path: Path) -> None:
    """At no level: drivers tell the values, among them hashes of passwords."""
    log.setup(LogSettings(level=LogLevel.TRACE, path=str(tmp_path / "log")), "usp-test")
    for name in ("aiosqlite", "aiosqlite.core", "sqlalchemy.engine"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


PROGRAM = """
import os
from usp import log
from usp.settings import LogLevel, LogSettings
log.setup(LogSettings(level=LogLevel.TRACE), "usp-test")
logger = log.get_logger("x")
for level in ("trace", "debug", "info", "warn", "error"):
    getattr(logger, level)("said")
log.shutdown()
"""


@pytest.mark.parametrize("journal", [True, False])
def test_the_journal_is_told_the_level(journal: bool) -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    stream = f"{status.st_dev}:{status.st_ino}" if journal else "8:1"
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "JOURNAL_STREAM": stream}
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=writing, env=env, check=True)
    os.close(writing)
    with open(reading) as output:
        begins = [line[:3] for line in output]
    assert begins == (["<7>", "<7>", "<6>", "<4>", "<3>"] if journal else ["202"] * 5)


def test_every_line_says_who_speaks_unless_it_says_otherwise(path: Path) -> None:
    start(path)
    log.context(server="s1", configuration=3)
    logger.info("one")
    log.context(configuration=4, server=None)
    logger.info("two", configuration=3)
    log.setup(LogSettings(path=str(path)), "usp-test")  # a context belongs to the log that was set up
    logger.info("three")
    assert lines(path) == [
        "INFO  usp-test one server=s1 configuration=3",
        "INFO  usp-test two configuration=3",
        "INFO  usp-test three",
    ]


def test_warnings_that_repeat_are_summed_up(path: Path) -> None:
    start(path)
    log.context(server="s1")
    for number in range(PER_KEY + 5):
        error = UspError("target.unreachable", f"no route, try {number}")
        logger.warn("session.failed", exc_info=error, listener="a", session=number)
        logger.info("session.ended", outcome="completed")
    logger.warn("session.failed", exc_info=UspError("target.unreachable"), listener="b", session=99)
    told = lines(path)
    assert sum("session.ended" in line for line in told) == PER_KEY + 5
    failed = [line for line in told if "session.failed" in line]
    assert len(failed) == PER_KEY + 2
    assert failed[-2].endswith("listener=b session=99 server=s1")
    assert failed[-1] == ("WARN  usp-test session.failed code=target.unreachable listener=a repeated=5 server=s1")


def test_bugs_that_differ_are_told(path: Path) -> None:
    start(path)
    for number in range(PER_KEY + 5):
        logger.error("session.crashed", exc_info=ValueError(number))
        logger.error("session.crashed", exc_info=ValueError("same"))
    told = lines(path)
    assert all(any(f"ValueError: {number}" in line for line in told) for number in range(PER_KEY + 5))
    assert sum("ValueError: same" in line and "repeated" not in line for line in told) == PER_KEY
    assert any('error="ValueError: same" repeated=5' in line for line in told)


def test_repetitions_are_summed_up_while_nothing_else_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LOOK_INTERVAL", 0.02)
    start(path)
    monkeypatch.setattr(log._state, "repeats", Repeats(1, 10, 0.05))
    for _ in range(3):
        logger.error("accept.paused", reason="Too many open files")
    deadline = time.monotonic() + 10
    while "repeated=2" not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert lines(path)[1] == 'ERROR usp-test accept.paused reason="Too many open files" repeated=2'
