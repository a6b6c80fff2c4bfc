"""A snapshot made ready to serve: strictly read, every key parsed, the SSH options of every leg built.

Runs in a thread (a big configuration takes seconds). Whatever is wrong is told as located problems, all at once; what
comes out cannot fail for reasons of configuration any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import asyncssh
from pydantic import ValidationError

from usp import policy as written
from usp.combinations import RULE_COMBINATIONS, InboundSource, OutboundCredentials
from usp.errors import Problem, UspError
from usp.model import ListenerType
from usp.server.accounts import Account, Accounts
from usp.server.outbound import Target
from usp.server.throttle import limits
from usp.settings import ServerSettings
from usp.sftp.policy import ALLOW_ALL, Compiled, Policy
from usp.snapshot import (
    PROTOCOL,
    AccountSpec,
    CredentialsSpec,
    ListenerSpec,
    NodeSpec,
    RepositorySpec,
    RuleSpec,
    Snapshot,
    TunnelSpec,
)
from usp.ssh import keys
from usp.ssh.connect import Login
from usp.ssh.options import Timing, partner_facing, target_facing, tunnel_server_end

_LIVE_RULES: Final = frozenset(each for each in RULE_COMBINATIONS if each[1] is not InboundSource.LDAP)
"""The combinations that this release can serve."""

_NO_SIGNATURE: Final = "is of a type that the signature types of the Outbound Node leave out"

Loc = tuple[str | int, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a partner comes in: a Listener, one of its Inbound Nodes, who may come, and the target behind.

    `trusted_cas`: public keys in SSH wire format. `dedicated`: the Rule's own login at the target. `policy`: of those
    whose Account has none of its own.
    """

    listener: ListenerSpec
    node: NodeSpec
    options: asyncssh.SSHServerConnectionOptions
    target: Target
    accounts: Accounts | None = None
    trusted_cas: frozenset[bytes] = frozenset()
    dedicated: Login | None = None
    policy: Policy = ALLOW_ALL


@dataclass(frozen=True, slots=True)
class Prepared:
    """`doors`: (listener id, node id) -> Door. Listeners in Direct Mode have none: nobody is met there. `limits`: of
    bandwidth, by their keys."""

    snapshot: Snapshot
    doors: Mapping[tuple[str, str], Door]
    limits: Mapping[str, int]


def prepare(wire: bytes, server: str, settings: ServerSettings) -> tuple[Prepared | None, tuple[Problem, ...]]:
    """The prepared snapshot, or the problems that are in the way."""
    try:
        snapshot = Snapshot.model_validate_json(wire)
    except ValidationError as error:
        return None, tuple(Problem(tuple(each["loc"]), each["msg"]) for each in error.errors(include_url=False))
    problems = list(_envelope(snapshot, server))
    builder = _Builder(settings, problems)
    doors = dict(builder.doors(snapshot))
    builder.check_tunnels(snapshot)
    return (None, tuple(problems)) if problems else (Prepared(snapshot, doors, limits(snapshot)), ())


PATIENCE: Final = 4
"""How many times as long as a link a partner or target may be silent. Everybody waits for a dead link; for one of these
only its own session does, which should outlive a machine that stands still for a while."""


def partner_timing(settings: ServerSettings) -> Timing:
    """Of partners and targets. The session keeps its own time for the login."""
    return Timing(0, settings.keepalive.interval, settings.keepalive.count * PATIENCE)


def link_timing(settings: ServerSettings) -> Timing:
    return Timing(settings.server.connect_timeout, settings.keepalive.interval, settings.keepalive.count)


def _envelope(snapshot: Snapshot, server: str) -> Iterator[Problem]:
    if snapshot.protocol not in (PROTOCOL, PROTOCOL - 1):
        yield Problem(("protocol",), f"version {snapshot.protocol} is not spoken here, {PROTOCOL} is")
    if snapshot.server != server:
        yield Problem(("server",), f"is meant for {snapshot.server}, this is {server}")
    if snapshot.digest != snapshot.content.digest:
        yield Problem(("digest",), "does not fit the content")


class _Builder:
    """Builds what it can and collects what it cannot."""

    def __init__(self, settings: ServerSettings, problems: list[Problem]) -> None:
        self._problems = problems
        self._accounts: dict[str, Accounts] = {}
        self._policies: dict[written.Policy, Policy] = {written.Policy(): ALLOW_ALL}
        self._timing = partner_timing(settings)
        self._link_timing = link_timing(settings)

    def doors(self, snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], Door]]:
        for number, repository in enumerate(snapshot.content.repositories):
            self._accounts[repository.id] = self._repository(repository, ("repositories", number))
        for number, listener in enumerate(snapshot.content.listeners):
            self._check_path(listener, ("listeners", number), snapshot)
            if listener.type is ListenerType.SFTP:
                yield from self._doors_of(listener, ("listeners", number))
            elif listener.direct is None:
                self._problems.append(Problem(("listeners", number, "direct"), "is required for type 'tcp'"))

    def check_tunnels(self, snapshot: Snapshot) -> None:
        for number, spec in enumerate(snapshot.content.tunnels):
            self._attempt(("tunnels", number), partial(self._tunnel, spec))

    def _tunnel(self, spec: TunnelSpec) -> object:
        if not spec.clients:  # nobody may link yet
            return keys.parse_private(spec.private_key)
        return tunnel_server_end(spec.private_key, [each.public_key for each in spec.clients], self._link_timing)

    def _check_path(self, listener: ListenerSpec, loc: Loc, snapshot: Snapshot) -> None:
        if listener.path is not None and snapshot.tunnel(listener.path.tunnel) is None:
            self._problems.append(Problem((*loc, "path", "tunnel"), "is no tunnel of this snapshot"))

    def _doors_of(self, listener: ListenerSpec, loc: Loc) -> Iterator[tuple[tuple[str, str], Door]]:
        if listener.target is None:
            self._problems.append(Problem((*loc, "target"), "is required for type 'sftp'"))
            return
        spec = listener.target
        options = self._attempt(
            (*loc, "target", "host_keys"), lambda: target_facing(spec.host_keys, spec.algorithms, self._timing)
        )
        target = Target(spec, options) if options else None
        for number, node in enumerate(listener.nodes):
            door = self._door(listener, node, (*loc, "nodes", number), target)
            if door:
                yield (listener.id, node.id), door

    def _door(self, listener: ListenerSpec, node: NodeSpec, loc: Loc, target: Target | None) -> Door | None:
        rule = node.rule
        self._check_rule(rule, (*loc, "rule"))
        options = self._attempt(
            (*loc, "host_keys"), lambda: partner_facing(node.host_keys, node.algorithms, self._timing)
        )
        trusted = self._lines(rule.trusted_ca_keys, (*loc, "rule", "trusted_ca_keys"))
        dedicated = self._attempt((*loc, "rule", "dedicated"), partial(_login, rule.dedicated))
        if dedicated and target and not all(map(partial(_can_sign, target), dedicated.keys)):
            self._problems.append(Problem((*loc, "rule", "dedicated", "private_key"), _NO_SIGNATURE))
        accounts = self._accounts.get(rule.repository) if rule.repository else None
        if options is None or target is None:
            return None
        return Door(listener, node, options, target, accounts, trusted, dedicated, self._policy(rule.policy))

    def _check_rule(self, rule: RuleSpec, loc: Loc) -> None:
        if (rule.method, rule.source, rule.outbound) not in _LIVE_RULES:
            chosen = f"{rule.method} / {rule.source} / {rule.outbound}"
            self._problems.append(Problem(loc, f"{chosen} is not supported by this release"))
        if rule.source is InboundSource.ACCOUNT_REPOSITORY and rule.repository not in self._accounts:
            self._problems.append(Problem((*loc, "repository"), "is no Account Repository of this snapshot"))
        if rule.outbound is OutboundCredentials.DEDICATED and not (
            rule.dedicated and (rule.dedicated.password or rule.dedicated.private_key)
        ):
            self._problems.append(Problem((*loc, "dedicated"), "is required: a password, a private key, or both"))

    def _repository(self, spec: RepositorySpec, loc: Loc) -> Accounts:
        return Accounts(
            self._account(account, (*loc, "accounts", number)) for number, account in enumerate(spec.accounts)
        )

    def _account(self, spec: AccountSpec, loc: Loc) -> Account:
        public_keys = self._lines(spec.public_keys, (*loc, "public_keys"))
        policy = self._policy(spec.policy) if spec.policy else None
        return Account(spec.username, spec.password, public_keys, spec.target_username, policy)

    def _policy(self, spec: written.Policy) -> Policy:
        """Ready to decide; the same for all who have the same."""
        if spec not in self._policies:
            self._policies[spec] = Compiled(spec)
        return self._policies[spec]

    def _lines(self, lines: Sequence[str], loc: Loc) -> frozenset[bytes]:
        found = [self._attempt((*loc, number), partial(keys.public_data, line)) for number, line in enumerate(lines)]
        return frozenset(data for data in found if data)

    def _attempt(self, loc: Loc, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except UspError as error:
            self._problems.append(Problem(loc, error.message))
            return None


def _login(spec: CredentialsSpec | None) -> Login | None:
    if spec is None:
        return None
    private = [keys.parse_private(spec.private_key)] if spec.private_key else []
    return Login(spec.username, spec.password, keys.pairs(private) if private else ())


def _can_sign(target: Target, pair: asyncssh.SSHKeyPair) -> bool:
    return not set(pair.sig_algorithms).isdisjoint(target.options.signature_algs)
