"""The target guard: how many failed logins of partners a target gets to see. Pure.

To a target, all partners have one address, the gateway's. OpenSSH from 9.8 on adds 5 seconds to an address for every
connection that fails to log in, takes one off each second, and refuses the address while there are more than 15
(sshd_config(5), PerSourcePenalties: authfail, invaliduser, min). So one guilty partner, or a spray over many addresses
and user names, would lock out everybody. Here the failures are counted before OpenSSH does: by default 2 at once and
one more every 6 seconds, which OpenSSH counts as 10 seconds at most; the other 5 are left for connections that do not
log in (noauth, a second each).

A login that would show a partner's password to the target asks first, and holds a place while it is under way; whether
it failed decides if the place is given back. The supervisor has one guard for all workers, so the budget is exact: who
finds no place waits if one may be given back, and is denied if all are used up. Failures are counted for the target,
and at each target for the source and for the user name.

Who has logged in at that target before, from the same source with the same user name, is known there. Failures of
others do not hold it up, its own do; while others use up the budget, it has one place. Its failures count for the
target, too. So OpenSSH counts 15 seconds at most even if a known partner fails, one login after the other, during a
spray. Several known partners that fail at once during one can still bring it to more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from usp.limits import Limits
from usp.server.ledger import Entry, Kind, key_of
from usp.server.messages import Result

MAX_ENTRIES: Final = 10_000
"""Targets, sources and user names with failures, partners who are known: so many of each are remembered."""
REMIND: Final = 60.0
"""Seconds between two words about the same target."""
LONGEST: Final = 5.0
"""Seconds that a denial is held back, at most."""

Id = tuple[str, int]
"""A session, and the number of its attempt."""
Key = TypeVar("Key", bound=Hashable)
B = TypeVar("B", bound="_Bucket")


class Answer(StrEnum):
    GRANTED = "granted"
    WAIT = "wait"
    DENIED = "denied"


@dataclass(slots=True, eq=False)
class _Bucket:
    """Failures, forgotten one by one every `forgive` seconds, and attempts under way that may become some."""

    forgive: float
    failures: float = 0.0
    at: float = 0.0
    under_way: int = 0

    def left(self, now: float) -> float:
        return max(0.0, self.failures - (now - self.at) / self.forgive)

    def fail(self, now: float) -> None:
        self.failures, self.at = self.left(now) + 1.0, now

    def answer(self, most: float, now: float) -> Answer:
        left = self.left(now) + 1.0
        if left > most:
            return Answer.DENIED
        return Answer.WAIT if left + self.under_way > most else Answer.GRANTED


@dataclass(slots=True, eq=False)
class _Target(_Bucket):
    """`took`: seconds that it took to deny the last one. `told`: when it was last said that its budget is used up."""

    took: float = 0.0
    told: float = float("-inf")


@dataclass(frozen=True, slots=True)
class _Attempt:
    target: str
    source: str
    username: str

    @property
    def partner(self) -> tuple[str, str, str]:
        return self.target, self.source, self.username


@dataclass(frozen=True, slots=True)
class _UnderWay:
    attempt: _Attempt
    since: float
    places: tuple[_Bucket, ...]


class Guard:
    def __init__(self, limits: Limits) -> None:
        self._most = limits.target_failures
        self._target_forgive = limits.target_forgive
        self._forgive = limits.forgive
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        self._strangers: OrderedDict[tuple[str, Kind, str], _Bucket] = OrderedDict()
        self._known: OrderedDict[tuple[str, str, str], _Bucket] = OrderedDict()
        self._under_way: dict[Id, _UnderWay] = {}
        self._waiting: dict[Id, _Attempt] = {}

    def ask(self, id: Id, target: str, source: str, username: str, now: float) -> Answer:
        """May this partner's password be shown to the target? Who is to wait is among `decided` later."""
        attempt = _Attempt(target, source, username)
        answer = self._begin(id, attempt, now)
        if answer is Answer.WAIT:
            self._waiting[id] = attempt
        return answer

    def decided(self, now: float) -> Iterator[tuple[Id, str, Answer]]:
        """Those that waited and need not any more, with their targets; first come, first served."""
        for id, attempt in tuple(self._waiting.items()):
            answer = self._begin(id, attempt, now)
            if answer is not Answer.WAIT:
                del self._waiting[id]
                yield id, attempt.target, answer

    def tried(self, id: Id, result: Result, now: float) -> Entry | None:
        """What came of it. The entry of the target, if that is to be told: its budget is used up."""
        self._waiting.pop(id, None)
        under_way = self._under_way.pop(id, None)
        if under_way is None:
            return None
        for place in under_way.places:
            place.under_way -= 1
        attempt = under_way.attempt
        if result is Result.ACCEPTED and attempt.partner not in self._known:
            _remember(self._known, attempt.partner, _Bucket(self._target_forgive))
        if result is not Result.DENIED:
            return None
        target = self._target(attempt.target)
        target.took = min(now - under_way.since, LONGEST)
        for bucket in {target, *under_way.places}:
            bucket.fail(now)
        return self._to_tell(attempt.target, target, now)

    def ended(self, session: str, now: float) -> Entry | None:
        """The session is over. What is still under way may have been shown to the target: it counts as denied."""
        entries = [self.tried(id, Result.DENIED, now) for id in (*self._under_way, *self._waiting) if id[0] == session]
        return next(filter(None, entries), None)

    def delay(self, target: str) -> float:
        """How long the target takes to deny somebody: who is denied here is to see no difference."""
        return self._target(target).took

    def used_up(self, now: float) -> Iterator[Entry]:
        """The targets whose budget is used up, until when."""
        for name, target in self._targets.items():
            if target.answer(self._most, now) is Answer.DENIED:
                yield self._entry(name, target, now)

    def release(self, key: str, now: float) -> Entry | None:
        """Forget the failures of a target, a source or a user name. The entry, if that was a target's."""
        for (_, kind, name), bucket in self._strangers.items():
            if key_of(kind, name) == key:
                bucket.failures = 0.0
        for (_, source, username), bucket in self._known.items():
            if key in (key_of(Kind.SOURCE, source), key_of(Kind.USERNAME, username)):
                bucket.failures = 0.0
        entry = next((each for each in self.used_up(now) if each.key == key), None)
        if entry is not None:
            self._targets[entry.name].failures = 0.0
        return entry

    # --- how it is judged ---

    def _begin(self, id: Id, attempt: _Attempt, now: float) -> Answer:
        target = self._target(attempt.target)
        own = self._known.get(attempt.partner)
        if own is not None:
            self._known.move_to_end(attempt.partner)
            places: tuple[_Bucket, ...] = (own,)
            of_others = max(0.0, target.left(now) + target.under_way - own.left(now))
            answer = own.answer(max(1.0, self._most - of_others), now)
        else:
            places = (target, *self._stranger(attempt))
            answer = max((place.answer(self._most, now) for place in places), key=list(Answer).index)
        if answer is Answer.GRANTED:
            self._under_way[id] = _UnderWay(attempt, now, places)
            for place in places:
                place.under_way += 1
        return answer

    def _target(self, name: str) -> _Target:
        found = self._targets.get(name)
        return found or _remember(self._targets, name, _Target(self._target_forgive))

    def _stranger(self, attempt: _Attempt) -> Iterator[_Bucket]:
        for kind, name in ((Kind.SOURCE, attempt.source), (Kind.USERNAME, attempt.username)):
            key = (attempt.target, kind, name)
            if key in self._strangers:
                self._strangers.move_to_end(key)
                yield self._strangers[key]
            else:
                yield _remember(self._strangers, key, _Bucket(self._forgive))

    def _to_tell(self, name: str, target: _Target, now: float) -> Entry | None:
        if target.answer(self._most, now) is not Answer.DENIED or now - target.told < REMIND:
            return None
        target.told = now
        return self._entry(name, target, now)

    def _entry(self, name: str, target: _Target, now: float) -> Entry:
        until = now + max(0.0, target.left(now) + 1.0 - self._most) * self._target_forgive
        return Entry(Kind.TARGET, name, target.left(now), now, until, "failed logins: strangers are not passed on")


def _remember(among: OrderedDict[Key, B], key: Key, bucket: B) -> B:
    among[key] = bucket
    if len(among) > MAX_ENTRIES:
        among.popitem(last=False)
    return bucket
