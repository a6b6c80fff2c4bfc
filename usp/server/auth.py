"""The login of a partner, as a value: what is offered, who judges an attempt, and when the partner is in.

Pure. A Rule (product.md, "The nine Rule combinations") says what the partner must show (`InboundMethod`), who checks it
(`InboundSource`) and what the target is shown (`OutboundCredentials`). `Login` is the state of one connection's login
under its Rule: `offered` are the SSH methods still of use (RFC 4252 section 5.1), `judges(method)` names, in order, who
must accept an attempt, `after(method, accepted)` is the next state. A failed attempt takes nothing back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from usp.model import InboundMethod, InboundSource, OutboundCredentials
from usp.snapshot import RuleSpec

MAX_FAILURES: Final = 6
"""Attempts that may fail before the connection is ended, as in OpenSSH's MaxAuthTries."""


class Method(StrEnum):
    """An SSH authentication method (RFC 4252 sections 7 and 8)."""

    PASSWORD = "password"  # noqa: S105  (a method's name)
    PUBLIC_KEY = "publickey"


class Judge(StrEnum):
    """Who decides about an attempt."""

    ACCOUNTS = "accounts"  # the Account Repository
    LDAP = "ldap"
    TARGET = "target"  # the partner's own user name and password, tried at the target (passthrough)


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
    """Where a login stands. `passed`: methods that were accepted; `failures`: attempts that were not."""

    rule: RuleSpec
    passed: frozenset[Method] = frozenset()
    failures: int = 0

    @property
    def offered(self) -> frozenset[Method]:
        """The methods with which the partner can go on."""
        if self.complete or self.exhausted:
            return frozenset()
        return frozenset[Method]().union(*_WAYS[self.rule.method]) - self.passed

    @property
    def complete(self) -> bool:
        """The partner is authenticated."""
        return any(way <= self.passed for way in _WAYS[self.rule.method])

    @property
    def exhausted(self) -> bool:
        """Too many attempts failed: end the connection."""
        return self.failures >= MAX_FAILURES

    def judges(self, method: Method) -> tuple[Judge, ...]:
        """Who must accept this attempt, in order. A password that is passed through is judged by the target, too."""
        assert method in self.offered, method
        judges = _SOURCES[self.rule.source]
        if method is Method.PASSWORD and self.rule.outbound is OutboundCredentials.PASSTHROUGH:
            judges = (*judges, Judge.TARGET)
        return judges

    def after(self, method: Method, accepted: bool) -> Login:
        """The state after an attempt. Accepted but not `complete` is SSH's partial success."""
        assert method in self.offered, method
        if accepted:
            return replace(self, passed=self.passed | {method})
        return replace(self, failures=self.failures + 1)
