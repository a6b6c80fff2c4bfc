"""The login of a partner, as a value: what is offered, who judges an attempt, and when the partner is in.

Pure. A Rule (product.md, "The nine Rule combinations") says what the partner must show (`InboundMethod`), who checks it
(`InboundSource`) and what the target is shown (`OutboundCredentials`). `Login` is the state of one connection's login
under its Rule: `offered` are the SSH methods still of use (RFC 4252 section 5.1), `judges(method)` names, in order, who
must accept an attempt, `after(method, denied_by)` is the next state.

A password comes by one of two methods, password or keyboard-interactive (RFC 4256), and OpenSSH's client tries both.
Whichever was judged first is the only one from then on, so that one typed password is judged once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.snapshot import RuleSpec

MAX_FAILURES: Final = 6
"""Attempts that may fail before the connection is ended, as in OpenSSH's MaxAuthTries."""


class Method(StrEnum):
    """An SSH authentication method (RFC 4252 sections 7 and 8, RFC 4256)."""

    PASSWORD = "password"  # noqa: S105  (a method's name)
    PUBLIC_KEY = "publickey"
    KEYBOARD_INTERACTIVE = "keyboard-interactive"  # another carrier of the password


class Judge(StrEnum):
    """Who decides about an attempt."""

    ACCOUNTS = "accounts"  # the Account Repository
    LDAP = "ldap"
    TARGET = "target"  # the partner's own user name and password, tried at the target (passthrough)
    GUARD = "guard"  # instead of the target, to which no more failed logins may be shown (`usp.server.guard`)


_ASKED_LAST: Final = frozenset({Judge.TARGET, Judge.GUARD})
_CARRIERS: Final = frozenset({Method.PASSWORD, Method.KEYBOARD_INTERACTIVE})

_WAYS: Final[Mapping[InboundMethod, tuple[frozenset[Method], ...]]] = MappingProxyType(
    {
        InboundMethod.PASSWORD: (frozenset({Method.PASSWORD}),),
        InboundMethod.PUBLIC_KEY: (frozenset({Method.PUBLIC_KEY}),),
        InboundMethod.PASSWORD_OR_PUBLIC_KEY: (frozenset({Method.PASSWORD}), frozenset({Method.PUBLIC_KEY})),
        InboundMethod.PASSWORD_AND_PUBLIC_KEY: (frozenset({Method.PASSWORD, Method.PUBLIC_KEY}),),
    }
)
"""What a Rule asks for -> the sets of methods of which one must be complete."""

_SOURCES: Final[Mapping[InboundSource, tuple[Judge, ...]]] = MappingProxyType(
    {
        InboundSource.NONE: (),
        InboundSource.ACCOUNT_REPOSITORY: (Judge.ACCOUNTS,),
        InboundSource.LDAP: (Judge.LDAP,),
    }
)


@dataclass(frozen=True, slots=True)
class Login:
    """Where a login stands. `passed`: what was accepted, PASSWORD by whichever carrier; `failures`: attempts that were
    not. `carrier`: how passwords come. `denied_by`: who refused the last attempt that failed."""

    rule: RuleSpec
    passed: frozenset[Method] = frozenset()
    failures: int = 0
    carrier: Method | None = None
    denied_by: Judge | None = None

    @property
    def offered(self) -> frozenset[Method]:
        """The methods with which the partner can go on."""
        if self.complete or self.exhausted:
            return frozenset()
        return _left(self.rule.method, self.passed, self.carrier)

    @property
    def complete(self) -> bool:
        """The partner is authenticated."""
        return _enough(self.rule.method, self.passed)

    @property
    def exhausted(self) -> bool:
        """Too many attempts failed: end the connection."""
        return self.failures >= MAX_FAILURES

    def judges(self, method: Method) -> tuple[Judge, ...]:
        """Who must accept this attempt, in order.

        A password that is passed through is judged by the target, too: when all else was accepted.
        """
        assert method in self.offered, method
        judges = _SOURCES[self.rule.source]
        if self.rule.outbound is OutboundCredentials.PASSTHROUGH and _enough(
            self.rule.method, self.passed | {_shown(method)}
        ):
            judges = (*judges, Judge.TARGET)
        return judges

    def after(self, method: Method, denied_by: Judge | None = None) -> Login:
        """The state after an attempt. Accepted but not `complete` is SSH's partial success.

        A refusal takes nothing back, but for the target's: what it refuses is the password, whenever that was shown.
        """
        assert method in self.offered, method
        shown = _shown(method)
        carrier = method if shown is Method.PASSWORD else self.carrier
        if denied_by is None:
            return replace(self, passed=self.passed | {shown}, carrier=carrier)
        passed = (self.passed | {shown}) - {Method.PASSWORD} if denied_by in _ASKED_LAST else self.passed
        return replace(self, passed=passed, carrier=carrier, failures=self.failures + 1, denied_by=denied_by)

    def abandoned(self) -> Login:
        """The state after an attempt that the partner did not await: it counts, or it would be a free one."""
        return replace(self, failures=self.failures + 1)

    def restarted(self) -> Login:
        """The state after a change of the user name."""
        return replace(self, passed=frozenset())


@cache
def _enough(asked: InboundMethod, passed: frozenset[Method]) -> bool:
    return any(way <= passed for way in _WAYS[asked])


@cache
def _left(asked: InboundMethod, passed: frozenset[Method], carrier: Method | None) -> frozenset[Method]:
    """With which methods what is not enough can become so. (asyncssh asks for each, several times in a login.)"""
    wanted = frozenset[Method]().union(*_WAYS[asked]) - passed
    if Method.PASSWORD not in wanted:
        return wanted
    return wanted - _CARRIERS | (frozenset({carrier}) if carrier else _CARRIERS)


def _shown(method: Method) -> Method:
    return Method.PASSWORD if method in _CARRIERS else method
