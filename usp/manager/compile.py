"""Compile: from the catalog to what one server needs, everything resolved.

Disabled items: a Deployment, Tunnel, Proxy Client or Account, a key of an Account, and a node or key among several is
left out; anything that what remains cannot do without (a Rule, an IP Filter, the only host key, the tunnel of a path)
is a problem, because leaving it out would serve partners otherwise than it was meant. The same catalog always compiles
to the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from usp.argon2id import is_password_hash
from usp.combinations import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.model import (
    Account,
    AccountRepository,
    Deployment,
    InboundNode,
    IpFilter,
    Item,
    Listener,
    ListenerType,
    OutboundNode,
    PrivateKey,
    ProxyClient,
    ProxyServer,
    PublicKey,
    Record,
    Route,
    Rule,
    Tunnel,
)
from usp.snapshot import (
    AccountSpec,
    ClientSpec,
    Content,
    CredentialsSpec,
    DirectSpec,
    FilterSpec,
    ListenerSpec,
    NodeSpec,
    PathSpec,
    RepositorySpec,
    RuleSpec,
    TargetSpec,
    TunnelSpec,
)

Combination = tuple[InboundMethod, InboundSource, OutboundCredentials]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this release's servers can do of what the model allows."""

    listeners: frozenset[ListenerType]
    rules: frozenset[Combination]


AVAILABLE: Final = Abilities(
    listeners=frozenset(ListenerType),
    rules=frozenset(each for each in RULE_COMBINATIONS if each[1] is not InboundSource.LDAP),
)

Kind = TypeVar("Kind", bound=Item)


class _UnusableError(Exception):
    """Stops the part that cannot be compiled; its problem is noted already."""


def compile(catalog: Catalog, server: str, abilities: Abilities = AVAILABLE) -> Content:
    """The content of a snapshot for the Proxy Server of that name; UspError `item.not_found` or `compile.invalid`."""
    record = catalog.get(ProxyServer.kind, server)
    compiler = _Compiler(catalog, abilities)
    content = compiler.content(record)
    if compiler.problems:
        problems = list(dict.fromkeys(compiler.problems))
        raise UspError("compile.invalid", f"Proxy Server '{server}' cannot be compiled", problems=problems)
    catalog.contents[record.item.name] = content
    return content


class _Compiler:
    def __init__(self, catalog: Catalog, abilities: Abilities) -> None:
        self.catalog = catalog
        self.abilities = abilities
        self.problems: list[Problem] = []
        self.repositories: dict[str, RepositorySpec] = {}

    def content(self, server: Record) -> Content:
        if not server.item.enabled:
            self._note(server, "enabled", "is disabled, and nothing is pushed to a disabled Proxy Server")
        listeners, tunnels = [], []
        for record in self.catalog.of_kind(Deployment.kind):
            deployment = item_of(Deployment, record)
            listener = self.catalog.records[deployment.listener]
            if deployment.proxy_server == server.id and record.item.enabled and listener.item.enabled:
                try:
                    listeners.append(self._listener(record, deployment, listener))
                except _UnusableError:
                    continue
        for record in self.catalog.of_kind(Tunnel.kind):
            if item_of(Tunnel, record).proxy_server == server.id and record.item.enabled:
                try:
                    tunnels.append(self._tunnel(record))
                except _UnusableError:
                    continue
        repositories = sorted(self.repositories.values(), key=lambda repository: repository.name)
        return Content(listeners=tuple(listeners), tunnels=tuple(tunnels), repositories=tuple(repositories))

    # Listeners

    def _listener(self, record: Record, deployment: Deployment, holder: Record) -> ListenerSpec:
        listener = item_of(Listener, holder)
        if listener.type not in self.abilities.listeners:
            raise self._note(holder, "type", f"type '{listener.type}' is not available yet")
        sftp = listener.type is ListenerType.SFTP
        return ListenerSpec(
            id=record.id,
            name=listener.name,
            address=listener.address,
            port=listener.port,
            type=listener.type,
            startup=deployment.startup,
            path=self._path(record, deployment),
            nodes=self._nodes(holder, listener) if sftp else (),
            target=self._target(holder, listener) if sftp else None,
            direct=None if sftp else self._direct(holder, listener),
            proxy_protocol=listener.proxy_protocol,
            proxy_trusted=listener.proxy_trusted,
            withhold_banner=listener.withhold_banner,
            bandwidth=listener.bandwidth,
        )

    def _path(self, record: Record, deployment: Deployment) -> PathSpec | None:
        if deployment.tunnel is None:
            return None
        tunnel, _ = self._need(record, "tunnel", Tunnel, deployment.tunnel)
        _, client = self._need(record, "proxy_client", ProxyClient, deployment.proxy_client)
        return PathSpec(tunnel=tunnel.id, client=client.name)

    def _direct(self, record: Record, listener: Listener) -> DirectSpec:
        assert listener.target_host is not None
        assert listener.target_port is not None
        filter = self._filter(record, listener.ip_filter)
        return DirectSpec(
            filter=filter,
            host=listener.target_host,
            port=listener.target_port,
            send_proxy_v2=listener.send_proxy_v2,
        )

    def _nodes(self, record: Record, listener: Listener) -> tuple[NodeSpec, ...]:
        holder, route = self._need(record, "route", Route, listener.route)
        nodes = self._some(holder, "inbound_nodes", InboundNode, route.inbound_nodes)
        nodes.sort(key=lambda pair: (-pair[1].priority, pair[1].name))
        return tuple(self._node(node_record, node) for node_record, node in nodes)

    def _node(self, record: Record, node: InboundNode) -> NodeSpec:
        keys = self._some(record, "host_keys", PrivateKey, node.host_keys)
        return NodeSpec(
            id=record.id,
            name=node.name,
            filter=self._filter(record, node.ip_filter),
            host_keys=tuple(key.private_key for _, key in keys),
            rule=self._rule(*self._need(record, "rule", Rule, node.rule)),
            banner=node.banner,
            algorithms=node.algorithms,
        )

    def _filter(self, record: Record, id: str | None) -> FilterSpec:
        _, filter = self._need(record, "ip_filter", IpFilter, id)
        return FilterSpec(block=filter.block, allow=filter.allow, default=filter.default)

    def _rule(self, record: Record, rule: Rule) -> RuleSpec:
        combination = (rule.inbound_method, rule.inbound_source, rule.outbound_credentials)
        if combination not in self.abilities.rules:
            if rule.inbound_source is InboundSource.LDAP:
                raise self._note(record, "inbound_source", "LDAP is not available yet")
            raise self._note(record, "inbound_method", f"{' / '.join(combination)} is not available yet")
        return RuleSpec(
            id=record.id,
            name=rule.name,
            method=rule.inbound_method,
            source=rule.inbound_source,
            outbound=rule.outbound_credentials,
            repository=self._repository(record, rule),
            trusted_ca_keys=self._lines(self._some(record, "trusted_ca_keys", PublicKey, rule.trusted_ca_keys))
            if rule.trusted_ca_keys
            else (),
            dedicated=self._dedicated(record, rule),
            policy=rule.policy,
            scan=rule.scan,
            content_hash=rule.content_hash,
            bandwidth=rule.bandwidth,
        )

    def _repository(self, record: Record, rule: Rule) -> str | None:
        """The id of the repository's spec, which is made once for all servers."""
        if rule.account_repository is None:
            return None
        holder, repository = self._need(record, "account_repository", AccountRepository, rule.account_repository)
        made = self.catalog.repositories
        if holder.id not in made:
            problems: list[Problem] = []
            accounts = tuple(self._accounts(holder.id, problems))
            made[holder.id] = RepositorySpec(id=holder.id, name=repository.name, accounts=accounts), tuple(problems)
        self.repositories[holder.id], wrong = made[holder.id]
        self.problems += wrong
        return holder.id

    def _accounts(self, repository: str, problems: list[Problem]) -> Iterator[AccountSpec]:
        for record in self.catalog.of_kind(Account.kind):
            account = item_of(Account, record)
            if account.account_repository != repository or not account.enabled:
                continue
            if account.password is not None and not is_password_hash(account.password.reveal()):
                problems.append(_problem(record, "password", "is not kept as a hash: give it again"))
                continue
            keys = [self.catalog.records[id] for id in account.public_keys]
            yield AccountSpec(
                username=account.username,
                password=account.password,
                public_keys=self._lines((key, item_of(PublicKey, key)) for key in keys if key.item.enabled),
                target_username=account.target_username,
                policy=account.policy,
                bandwidth=account.bandwidth,
            )

    def _lines(self, found: Iterable[tuple[Record, PublicKey]]) -> tuple[str, ...]:
        return tuple(key.public_key.strip() for _, key in found)

    def _dedicated(self, record: Record, rule: Rule) -> CredentialsSpec | None:
        if rule.outbound_credentials is not OutboundCredentials.DEDICATED:
            return None
        assert rule.username is not None
        key = None
        if rule.private_key is not None:
            key = self._need(record, "private_key", PrivateKey, rule.private_key)[1].private_key
        return CredentialsSpec(username=rule.username, password=rule.password, private_key=key)

    def _target(self, record: Record, listener: Listener) -> TargetSpec:
        holder, node = self._need(record, "default_outbound_node", OutboundNode, listener.default_outbound_node)
        return TargetSpec(
            id=holder.id,
            name=node.name,
            host=node.host,
            port=node.port,
            host_keys=self._lines(self._some(holder, "host_keys", PublicKey, node.host_keys)),
            algorithms=node.algorithms,
            alternates=node.alternates,
            distribution=node.distribution,
            weight=node.weight,
            send_proxy_v2=node.send_proxy_v2,
            connection_reuse=node.connection_reuse,
            sessions_per_connection=node.sessions_per_connection,
        )

    # Tunnels

    def _tunnel(self, record: Record) -> TunnelSpec:
        tunnel = item_of(Tunnel, record)
        clients = []
        for client_record in self.catalog.of_kind(ProxyClient.kind):
            client = item_of(ProxyClient, client_record)
            if client.tunnel == record.id and client.enabled:
                _, key = self._need(client_record, "public_key", PublicKey, client.public_key)
                clients.append(ClientSpec(id=client_record.id, name=client.name, public_key=key.public_key.strip()))
        return TunnelSpec(
            id=record.id,
            name=tunnel.name,
            address=tunnel.address,
            port=tunnel.port,
            private_key=self._need(record, "private_key", PrivateKey, tunnel.private_key)[1].private_key,
            clients=tuple(clients),
        )

    # References

    def _need(self, record: Record, field: str, model: type[Kind], id: str | None) -> tuple[Record, Kind]:
        """What `field` of `record` refers to, which must be enabled."""
        assert id is not None, f"{record.kind}.{field}"
        found = self.catalog.records[id]
        if not found.item.enabled:
            raise self._note(record, field, f"{model.title} '{found.item.name}' is disabled")
        return found, item_of(model, found)

    def _some(self, record: Record, field: str, model: type[Kind], ids: Iterable[str]) -> list[tuple[Record, Kind]]:
        """Those that `field` of `record` refers to and that are enabled, at least one."""
        found = [self.catalog.records[id] for id in ids]
        enabled = [(record, item_of(model, record)) for record in found if record.item.enabled]
        if not enabled:
            raise self._note(record, field, "all of them are disabled")
        return enabled

    def _note(self, record: Record, field: str, msg: str) -> _UnusableError:
        self.problems.append(_problem(record, field, msg))
        return _UnusableError()


def _problem(record: Record, field: str, msg: str) -> Problem:
    return Problem((record.kind, record.item.name, field), msg)
