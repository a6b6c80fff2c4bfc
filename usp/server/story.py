"""A session's story, for the audit log: who it is, said in every line, and the facts as they come.

What does not change between two facts is put together once: a session may have thousands of files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from usp import metrics
from usp.log import get_logger
from usp.server.audit import JsonValue, facts, sent
from usp.server.messages import Partner
from usp.sftp.records import Denied, FileClosed, Observed, Opened, Record, Scanned, Spent, printable
from usp.ssh import connect
from usp.status import Outcome

log = get_logger(__name__)

LOGGED: Final = ("node", "root")
"""What the log is told of who it was; the audit log is told all."""


def names_of(ticket: Partner, listener: str, **more: JsonValue) -> dict[str, JsonValue]:
    """What a session is called from its first moment on."""
    peer = f"{ticket.peer_host}:{ticket.peer_port}"
    return {"session": ticket.session, "listener": listener, "peer": peer, "configuration": ticket.version, **more}


class Story:
    """`tell` takes each fact. `names` is what the log is told with every line about the session."""

    def __init__(
        self, tell: Callable[[dict[str, JsonValue]], None], listener: str, names: Mapping[str, JsonValue]
    ) -> None:
        self.names = names
        self.since = time.time()
        self._tell = tell
        self._listener = listener
        self._who: dict[str, JsonValue] = {**names}
        self._served_by: dict[str, JsonValue] = {}
        self._refused: set[str] = set()
        self.at_target: Callable[[bytes], bytes] | None = None
        """Where the target sees other paths than the partner."""

    def describe(self, **facts: JsonValue) -> None:
        """From now on every fact says so."""
        self._who = {**self._who, **facts}

    def named(self, username: str) -> None:
        if username:
            named = {"username": printable(username.encode("utf-8", "backslashreplace"))}
            self.names = {**self.names, **named}
            self.describe(**named)

    def partner(self, connection: connect.ServerConnection) -> None:
        """It is logged in, on this connection."""
        id, algorithms = connection.described()
        version = printable(str(connection.get_extra_info("client_version", "")).encode())
        self.describe(client_version=version, algorithms=algorithms, ssh_session=id)

    def target(self, channel: object) -> None:
        """It has this channel at the target."""
        id, algorithms = connect.described(channel)
        self.describe(target_ssh_session=id, target_algorithms=algorithms)

    def served_by(self, **facts: JsonValue) -> None:
        """By which target: what a login and the end are told with."""
        self._served_by = facts

    def fact(self, event: str, **more: JsonValue) -> None:
        self._tell({**self._who, "event": event, **more})

    def login(self, outcome: str, **more: JsonValue) -> None:
        self.fact("login", outcome=outcome, **more, **self._served_by)

    def refused(self, kind: str) -> None:
        """A request: told once for each kind, so that a partner who insists does not fill the log."""
        if kind not in self._refused:
            self._refused.add(kind)
            self.fact("request.refused", kind=kind)

    def records(self, records: Sequence[Record]) -> None:
        """A file or directory that was opened has no event of its own: what is done with it has."""
        for record in records:
            if isinstance(record, Opened) and record.ok:
                continue
            told = facts(record)
            if isinstance(record, FileClosed):
                self._count(record.spent)
            elif isinstance(record, Denied | Observed):
                metrics.OPERATIONS_DENIED_TOTAL.labels(self._listener, told["outcome"]).inc()
            elif isinstance(record, Scanned):
                metrics.SCANS_TOTAL.labels(self._listener, told["verdict"]).inc()
            if self.at_target is not None:
                told.update(sent(record, self.at_target))
            self._tell({**self._who, **told})

    def _count(self, spent: Spent) -> None:
        for side, seconds in zip(Spent._fields[1:], spent[1:], strict=True):
            if seconds:
                metrics.TRANSFER_SECONDS_TOTAL.labels(self._listener, side).inc(seconds)

    def ended(self, outcome: Outcome, bytes_in: int, bytes_out: int) -> None:
        if outcome is Outcome.PROBE:
            log.debug("session.probe", **self.names)
            return
        figures: dict[str, JsonValue] = {
            **self._served_by,
            "outcome": str(outcome),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "seconds": round(time.time() - self.since, 3),
        }
        self.fact("session.ended", **figures)
        who = {name: self._who[name] for name in LOGGED if name in self._who}
        log.info("session.ended", **self.names, **who, **figures)
