"""What the scenarios found, and what shows that it is mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Defect:
    what: str
    test: str


DEFECTS: Final = (
    Defect(
        "A target that granted the sftp subsystem and never answered INIT held the partner until the idle limit (15 "
        "minutes). Now the session ends as `target_unreachable` within twice `server.connect_timeout`.",
        "tests/unit/server/test_exchange.py::test_a_target_that_does_not_answer_init",
    ),
    Defect(
        "Two ends that closed a channel while each had more to send than the other's window took waited for each other "
        "for ever, as asyncssh's own do.",
        "tests/unit/ssh/test_window.py::test_two_that_close_with_more_to_say_than_the_window_takes_both_end",
    ),
    Defect(
        "A COMMIT that SQLite refused left its connection in the pool with the transaction open: the write lock stayed "
        "taken, and the next use of that connection failed.",
        "tests/contract/test_nth_statement.py::test_a_write_that_fails_at_every_statement",
    ),
    Defect(
        "A worker that had no descriptor left died, with all its sessions, of the next partner that it was sent. Now "
        "that one is refused, and all others go on.",
        "tests/unit/server/test_worker.py::test_a_worker_without_descriptors_refuses_and_lives",
    ),
    Defect(
        "A worker that the kernel killed for want of memory would have stopped the whole service: systemd's default is "
        "OOMPolicy=stop. usp-server's unit says `continue`, so the supervisor starts a new worker.",
        "tests/e2e/test_packaging.py::test_a_unit_starts_what_the_package_has",
    ),
    Defect(
        "A host whose clock fell an hour behind refused certificates that had been issued within that hour: they were "
        "valid since five minutes before. Now they are since a day before.",
        "tests/faults/test_clocks.py::test_a_clock_jumps_an_hour_and_back",
    ),
)
