"""The ledger: who is connected, who has logged in, and who failed so often that a penalty is on. Pure.

The supervisor keeps one for all workers, so that every limit is exact. A source is an IPv4 address or an IPv6 /64 (who
has one address of a /64 has them all). A failure counts for the source and for the user name. Failures are forgotten
one by one with time; from the limit on every further one doubles the penalty. Those of a session that logs in after all
(OpenSSH's client offers all keys of its agent first) are taken back.

A penalised source is refused at accept. A penalised user name is refused at login, whatever the password, except from
sources where it has logged in before: who guesses alice's password cannot lock alice out. Nor can strangers who connect
and stay: they take each other's places only.

What is remembered is bounded: the entries that were touched longest ago go first. Times are seconds of one monotonic
clock.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from usp import ipfilter
from usp.limits import Limits
from usp.server.dispatch import Refusal
from usp.status import Outcome

MAX_ENTRIES: Final = 10_000
"""Sources with failures, user names with failures, sources with known user names: so many of each are remembered."""
MAX_KNOWN: Final = 16
"""User names that are remembered as known at a source."""
MAX_DOUBLINGS: Final = 16
WRONG: Final = frozenset({Outcome.LIMIT, Outcome.PROTOCOL_ERROR})
"""How a session ends that never tried a login and yet is a failure: it kept a place busy, or spoke no proper SSH."""


class Kind(StrEnum):
    SOURCE = "source"
    USERNAME = "username"
    TARGET = "target"  # what `usp.server.guard` holds against it; never in the ledger


def key_of(kind: Kind, name: str) -> str:
    """How an entry is called when it is to be released."""
    return f"{kind}:{name.removesuffix('/64') if kind is Kind.SOURCE else name}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is held against somebody. `until`: end of the penalty; 0.0: none was imposed."""

    kind: Kind
    name: str
    failures: float
    at: float
    until: float = 0.0
    reason: str = ""

    @property
    def key(self) -> str:
        return key_of(self.kind, self.name)

    @property
    def count(self) -> int:
        """The failures in whole numbers: a part of one counts until it is forgotten."""
        return math.ceil(self.failures)

    def left(self, now: float, forgive: float) -> float:
        """The failures that are not forgotten yet."""
        return max(0.0, self.failures - (now - self.at) / forgive)


@dataclass(slots=True)
class _Held:
    """A connection. `source` is "" if it is exempt; `username` is known once it logged in."""

    source: str
    listener: str
    waiting: bool
    username: str = ""
    failed: tuple[tuple[Kind, str], ...] = ()


def source_of(host: str) -> str:
    """`192.0.2.7`, or `2001:db8:1:2::/64`."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


class Ledger:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.is_exempt: Final = ipfilter.among(limits.exempt)
        self._held: dict[str, _Held] = {}
        self._sources = Counter[str]()
        self._waiting = Counter[str]()  # connections that are not logged in, by source
        self._listeners = Counter[str]()
        self._accounts = Counter[str]()
        self._entries: dict[Kind, OrderedDict[str, Entry]] = {kind: OrderedDict() for kind in Kind}
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def refusal(self, host: str, listener: str, now: float) -> Refusal | None:
        """Why a connection from this address to this listener is refused; None admits it."""
        limits = self._limits
        if 0 < limits.connections_per_listener <= self._listeners[listener]:
            return Refusal.LISTENER_FULL
        if self.is_exempt(host):
            return None
        source = source_of(host)
        if self._is_penalised(Kind.SOURCE, source, now):
            return Refusal.PENALTY
        if 0 < limits.connections_per_source <= self._sources[source]:
            return Refusal.PER_SOURCE
        if 0 < limits.unauthenticated_per_source <= self._waiting[source]:
            return Refusal.UNAUTHENTICATED_PER_SOURCE
        if 0 < limits.unauthenticated <= self._waiting.total() and source not in self._known:
            return Refusal.UNAUTHENTICATED
        return None

    def opened(self, session: str, host: str, listener: str, *, logs_in: bool = True, exempt: bool = False) -> None:
        """A worker has it. Not `logs_in`: Direct Mode, where there is no login that we could see."""
        exempt = exempt or self.is_exempt(host)
        held = self._held[session] = _Held("" if exempt else source_of(host), listener, logs_in and not exempt)
        self._listeners[listener] += 1
        if held.source:
            self._sources[held.source] += 1
        if held.waiting:
            self._waiting[held.source] += 1

    def failed(self, session: str, username: str, now: float) -> list[Entry]:
        """A login was denied. The penalties that this imposes."""
        held = self._held.get(session)
        if held is None or not held.source:
            return []
        guilty = [(Kind.SOURCE, held.source)]
        if username and not self._is_penalised(Kind.USERNAME, username, now):
            guilty.append((Kind.USERNAME, username))
        held.failed += tuple(guilty)
        return [entry for each in guilty if (entry := self._count(*each, "failed logins", now)) is not None]

    def authenticated(self, session: str, username: str, now: float) -> bool:
        """It logged in. False: that is one session too many for this user name."""
        held = self._held.get(session)
        if held is None or held.username:
            return True
        self._logged_in(held)
        held.username = username
        self._accounts[username] += 1
        for guilty in held.failed:
            self._take_back(*guilty, now)
        held.failed = ()
        if held.source:
            self._know(held.source, username)
        return not 0 < self._limits.sessions_per_account < self._accounts[username]

    def ended(self, session: str, outcome: Outcome, now: float) -> list[Entry]:
        """It is over. The penalties that this imposes."""
        held = self._held.pop(session, None)
        if held is None:
            return []
        wrong = held.waiting and not held.failed and outcome in WRONG
        self._logged_in(held)
        _less(self._listeners, held.listener)
        _less(self._sources, held.source)
        _less(self._accounts, held.username)
        entry = self._count(Kind.SOURCE, held.source, "connections without a login", now) if wrong else None
        return [] if entry is None else [entry]

    def knows(self, host: str) -> tuple[str, ...]:
        """The user names that have logged in from there."""
        return self._known.get(source_of(host), ())

    def penalties(self, now: float) -> Iterator[Entry]:
        """Those that are on."""
        for entries in self._entries.values():
            yield from (entry for entry in entries.values() if entry.until > now)

    def release(self, key: str) -> Entry | None:
        """Forget everything that is held against it. What that was, if anything."""
        for entries in self._entries.values():
            for name, entry in entries.items():
                if entry.key == key:
                    return entries.pop(name)
        return None

    def _is_penalised(self, kind: Kind, name: str, now: float) -> bool:
        entry = self._entries[kind].get(name)
        return entry is not None and entry.until > now

    def _count(self, kind: Kind, name: str, reason: str, now: float) -> Entry | None:
        """One more failure; the entry if that imposes a penalty."""
        limits, entries = self._limits, self._entries[kind]
        if not limits.failures:
            return None
        before = entries.pop(name, None) or Entry(kind, name, 0.0, now)
        failures = min(before.left(now, limits.forgive) + 1.0, float(limits.failures + MAX_DOUBLINGS))
        doublings = math.ceil(failures) - limits.failures
        until = before.until
        if doublings >= 0:
            until = now + min(limits.first_penalty * 2**doublings, limits.longest_penalty)
        entry = entries[name] = Entry(kind, name, failures, now, until, reason)
        if len(entries) > MAX_ENTRIES:
            entries.popitem(last=False)
        return entry if doublings >= 0 else None

    def _take_back(self, kind: Kind, name: str, now: float) -> None:
        entry = self._entries[kind].get(name)
        if entry is None:
            return
        failures = entry.left(now, self._limits.forgive) - 1.0
        if failures <= 0:
            del self._entries[kind][name]
        else:
            until = entry.until if math.ceil(failures) >= self._limits.failures else 0.0
            self._entries[kind][name] = Entry(kind, name, failures, now, until, entry.reason)

    def _know(self, source: str, username: str) -> None:
        others = [name for name in self._known.pop(source, ()) if name != username]
        self._known[source] = (*others, username)[-MAX_KNOWN:]
        if len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)

    def _logged_in(self, held: _Held) -> None:
        if held.waiting:
            held.waiting = False
            _less(self._waiting, held.source)


def _less(counter: Counter[str], key: str) -> None:
    """Count down, and forget at zero."""
    if key in counter:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
