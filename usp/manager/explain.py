"""Explain: what becomes of a partner's connection, and why. Pure.

The configuration that is explained is the catalog's, as the next push would bring it to the server, step by step in the
order in which a connection goes: Proxy Server, Listener, Deployment, Inbound Node, Rule, Account, target, path. A step
that refuses ends it. What is true only now (nothing pushed, a port stopped, a tunnel down) is a warning beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import Field

from usp import ipfilter
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.model import (
    Account,
    Deployment,
    Distribution,
    FilterAction,
    InboundNode,
    IpFilter,
    Item,
    Listener,
    ListenerType,
    Model,
    OutboundNode,
    ProxyServer,
    PublicKey,
    Record,
    Route,
    Rule,
)
from usp.snapshot import FilterSpec
from usp.status import Intake, LinkState, ListenerState, Report

_ANNOUNCED: Final = ", told the partner's address by a PROXY header"


class StepName(StrEnum):
    """In the order in which a connection goes."""

    SERVER = "server"
    LISTENER = "listener"
    DEPLOYMENT = "deployment"
    INBOUND_NODE = "inbound_node"
    SOURCE = "source"
    RULE = "rule"
    ACCOUNT = "account"
    TARGET = "target"
    PATH = "path"


class Step(Model):
    """`ok` of an Inbound Node: it is the one that faces the partner."""

    step: StepName
    ok: bool
    text: str


class Explanation(Model):
    """`ok`: nothing in the configuration refuses the partner. The names are of what was decided for, "" if nothing."""

    ok: bool
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
    deployment: str = Field(default="", description="Its id: that is what is started, stopped and probed")
    inbound_node: str = ""
    rule: str = ""
    account: str = ""
    target: str = ""
    tunnel: str = ""
    proxy_client: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """`server` and `listener`: names or ids; `source`: the partner's IP address; `user`: what it logs in as."""

    server: str
    listener: str
    source: str
    user: str


@dataclass(frozen=True, slots=True)
class Observed:
    """`report`: what the server last said. `updated`: the digest of what a push would bring it now, or the `problems`
    for which nothing can be pushed."""

    report: Report | None = None
    updated: str = ""
    problems: tuple[Problem, ...] = ()


class _RefusedError(Exception):
    """The step that refuses is noted."""


_WAYS: Final = {
    InboundMethod.PASSWORD: "a password",
    InboundMethod.PUBLIC_KEY: "a public key",
    InboundMethod.PASSWORD_OR_PUBLIC_KEY: "a password or a public key",
    InboundMethod.PASSWORD_AND_PUBLIC_KEY: "a public key and a password, both",
}


def explain(catalog: Catalog, question: Question, observed: Observed) -> Explanation:
    """UspError item.not_found for a server or listener that there is not, request.invalid for what is no address."""
    server = catalog.get(ProxyServer.kind, question.server)
    listener = catalog.get(Listener.kind, question.listener)
    try:
        ipfilter.verdict(FilterSpec(), question.source)
    except ValueError:
        wrong = Problem(("source",), "is not an IP address, such as 192.0.2.7 or 2001:db8::1")
        raise UspError("request.invalid", "the source is not an IP address", problems=[wrong]) from None
    way = _Way(catalog, question)
    ok = True
    try:
        way.go(server, listener)
    except _RefusedError:
        ok = False
    warnings = tuple(
        _warnings(server, way.deployment, way.names.get("tunnel"), way.names.get("proxy_client"), observed)
    )
    deployment = way.deployment.id if way.deployment else ""
    return Explanation(ok=ok, steps=tuple(way.steps), warnings=warnings, deployment=deployment, **way.names)


class _Way:
    """Goes the steps and notes them."""

    def __init__(self, catalog: Catalog, question: Question) -> None:
        self.steps: list[Step] = []
        self.names: dict[str, str] = {}
        self.deployment: Record | None = None
        self._catalog = catalog
        self._question = question

    def go(self, server: Record, listener_record: Record) -> None:
        listener = item_of(Listener, listener_record)
        self._enabled(StepName.SERVER, server)
        self._note(StepName.SERVER, f"Proxy Server '{server.item.name}'")
        self._enabled(StepName.LISTENER, listener_record)
        self._note(StepName.LISTENER, f"Listener '{listener.name}' ({listener.type}) on {_at(listener)}")
        deployment = self._deployed(server, listener_record)
        if listener.type is ListenerType.TCP:
            self._direct(listener)
        else:
            rule = self._rule(self._node(listener))
            self._target(listener, rule, self._account(rule))
        self._path(server, deployment)

    # --- the steps ---

    def _deployed(self, server: Record, listener: Record) -> Deployment:
        for record in self._catalog.of_kind(Deployment.kind):
            deployment = item_of(Deployment, record)
            if (deployment.listener, deployment.proxy_server) == (listener.id, server.id):
                self.deployment = record
                disabled = "" if deployment.enabled else " (it is disabled)"
                starts = f"start-up {deployment.startup}"
                self._note(StepName.DEPLOYMENT, f"Deployment '{deployment.name}'{disabled}, {starts}")
                return deployment
        reason = f"Listener '{listener.item.name}' is not deployed on Proxy Server '{server.item.name}'"
        raise self._refuse(StepName.DEPLOYMENT, reason)

    def _direct(self, listener: Listener) -> None:
        answer, words = self._verdict(listener.ip_filter)
        if answer is not FilterAction.ALLOW:
            raise self._refuse(StepName.SOURCE, words)
        self._note(StepName.SOURCE, f"{words}; Direct Mode: nobody logs in here")
        assert listener.target_host is not None
        assert listener.target_port is not None
        self.names["target"] = _host_port(listener.target_host, listener.target_port)
        where = f"bytes are handed on to {self.names['target']}, without a session break"
        self._note(StepName.TARGET, f"{where}{_ANNOUNCED if listener.send_proxy_v2 else ''}")

    def _node(self, listener: Listener) -> InboundNode:
        """The first by priority whose filter allows the source; why the others are not it."""
        assert listener.route is not None
        route_record = self._catalog.records[listener.route]
        self._enabled(StepName.INBOUND_NODE, route_record)
        records = [self._catalog.records[id] for id in item_of(Route, route_record).inbound_nodes]
        nodes = sorted((item_of(InboundNode, each) for each in records), key=lambda node: (-node.priority, node.name))
        chosen: InboundNode | None = None
        for node in nodes:
            fits, words = self._judged(node, chosen)
            chosen = node if fits else chosen
            self._note(
                StepName.INBOUND_NODE, f"Inbound Node '{node.name}' (priority {node.priority}): {words}", ok=fits
            )
        if chosen is None:
            reason = f"no Inbound Node takes {self._question.source}: the connection is closed at once"
            raise self._refuse(StepName.SOURCE, reason)
        self.names["inbound_node"] = chosen.name
        return chosen

    def _judged(self, node: InboundNode, chosen: InboundNode | None) -> tuple[bool, str]:
        if not node.enabled:
            return False, "is disabled"
        answer, words = self._verdict(node.ip_filter)
        if answer is not FilterAction.ALLOW:
            return False, f"does not take it: {words}"
        if chosen is not None:
            return False, f"would take it ({words}), but '{chosen.name}' comes first"
        return True, f"takes it: {words}"

    def _verdict(self, filter_id: str | None) -> tuple[FilterAction, str]:
        assert filter_id is not None
        item = item_of(IpFilter, self._catalog.records[filter_id])
        found = verdict(item, self._question.source)
        answer = "allows" if found.action is FilterAction.ALLOW else "blocks"
        disabled = " (the filter is disabled: nothing can be pushed)" if not item.enabled else ""
        return found.action, f"IP Filter '{item.name}' {answer} {self._question.source}, since {found}{disabled}"

    def _rule(self, node: InboundNode) -> Rule:
        record = self._catalog.records[node.rule]
        rule = item_of(Rule, record)
        self.names["rule"] = rule.name
        self._enabled(StepName.RULE, record)
        self._note(
            StepName.RULE,
            f"Rule '{rule.name}': {rule.inbound_method} / {rule.inbound_source} / {rule.outbound_credentials};"
            f" the partner shows {_WAYS[rule.inbound_method]}",
        )
        return rule

    def _account(self, rule: Rule) -> Account | None:
        if rule.inbound_source is InboundSource.LDAP:
            raise self._refuse(StepName.ACCOUNT, "LDAP is not available yet")
        if rule.inbound_source is InboundSource.ACCOUNT_REPOSITORY:
            return self._account_in(rule)
        self._note(StepName.ACCOUNT, f"the target alone decides whether '{self._question.user}' may log in")
        return None

    def _account_in(self, rule: Rule) -> Account:
        assert rule.account_repository is not None
        repository = self._catalog.records[rule.account_repository]
        self._enabled(StepName.ACCOUNT, repository)
        named = f"in Account Repository '{repository.item.name}'"
        user = self._question.user
        accounts = (item_of(Account, record) for record in self._catalog.of_kind(Account.kind))
        account = next((a for a in accounts if (a.account_repository, a.username) == (repository.id, user)), None)
        if account is None:
            raise self._refuse(StepName.ACCOUNT, f"there is no Account with user name '{user}' {named}")
        self.names["account"] = account.name
        if not account.enabled:
            raise self._refuse(StepName.ACCOUNT, f"Account '{account.name}' {named} is disabled")
        keys, signers = self._count_enabled(account.public_keys), self._count_enabled(rule.trusted_ca_keys)
        has = f"{_some(account.password is not None, 'a password')} and {_some(keys, _count(keys, 'public key'))}"
        if signers:
            has += f" (or a certificate of {_count(signers, 'trusted CA key')})"
        if not _suffices(rule.inbound_method, password=account.password is not None, keys=keys + signers):
            needs = f"while the Rule asks for {_WAYS[rule.inbound_method]}"
            raise self._refuse(StepName.ACCOUNT, f"Account '{account.name}' {named} has {has}, {needs}")
        self._note(StepName.ACCOUNT, f"Account '{account.name}' {named} has {has}")
        return account

    def _count_enabled(self, ids: Iterable[str]) -> int:
        return sum(self._catalog.records[id].item.enabled for id in ids)

    def _target(self, listener: Listener, rule: Rule, account: Account | None) -> None:
        assert listener.default_outbound_node is not None
        record = self._catalog.records[listener.default_outbound_node]
        node = item_of(OutboundNode, record)
        self.names["target"] = node.name
        self._enabled(StepName.TARGET, record)
        pins = [self._catalog.records[id] for id in node.host_keys]
        usable = [f"{pin.facts.get('type', '')} {pin.facts.get('fingerprint', '')}" for pin in pins if pin.item.enabled]
        if not usable:
            raise self._refuse(StepName.TARGET, f"all {PublicKey.title}s of Outbound Node '{node.name}' are disabled")
        where = f"Outbound Node '{node.name}', {_addresses(node)}{_ANNOUNCED if node.send_proxy_v2 else ''}"
        whom = f"{self._as_whom(rule, account)}{_sharing(node, rule)}"
        self._note(StepName.TARGET, f"{where}, {whom}; pinned: {', '.join(usable)}")

    def _as_whom(self, rule: Rule, account: Account | None) -> str:
        own = account.target_username if account else None
        if rule.outbound_credentials is OutboundCredentials.PASSTHROUGH:
            return f"as '{own or self._question.user}' with the partner's own password"
        given = [word for word, value in (("password", rule.password), ("private key", rule.private_key)) if value]
        return f"as '{own or rule.username}' with the Rule's {' and '.join(given)}"

    def _path(self, server: Record, deployment: Deployment) -> None:
        if deployment.tunnel is None:
            self._note(StepName.PATH, f"directly from Proxy Server '{server.item.name}'")
            return
        assert deployment.proxy_client is not None
        tunnel, client = self._catalog.records[deployment.tunnel], self._catalog.records[deployment.proxy_client]
        self.names |= {"tunnel": tunnel.item.name, "proxy_client": client.item.name}
        self._enabled(StepName.PATH, tunnel)
        self._enabled(StepName.PATH, client)
        self._note(StepName.PATH, f"through Tunnel '{tunnel.item.name}' from Proxy Client '{client.item.name}'")

    # --- how they are noted ---

    def _note(self, step: StepName, text: str, *, ok: bool = True) -> None:
        self.steps.append(Step(step=step, ok=ok, text=text))

    def _refuse(self, step: StepName, text: str) -> _RefusedError:
        self._note(step, text, ok=False)
        return _RefusedError()

    def _enabled(self, step: StepName, record: Record) -> None:
        if not record.item.enabled:
            raise self._refuse(step, f"{_title(record.item)} '{record.item.name}' is disabled")


def _sharing(node: OutboundNode, rule: Rule) -> str:
    if not node.connection_reuse:
        return ""
    if rule.outbound_credentials is OutboundCredentials.PASSTHROUGH:
        return " on a connection of its own (connection_reuse is for dedicated credentials)"
    return f" on a connection that up to {node.sessions_per_connection} sessions share"


def verdict(item: IpFilter, address: str) -> ipfilter.Verdict:
    """What the IP Filter says about an address, by which rule; ValueError for what is no address."""
    return ipfilter.verdict(FilterSpec(block=item.block, allow=item.allow, default=item.default), address)


def _warnings(
    server: Record, deployment: Record | None, tunnel: str | None, client: str | None, observed: Observed
) -> Iterator[str]:
    for problem in observed.problems:
        yield f"nothing can be pushed to '{server.item.name}' as it is: {problem}"
    if deployment is not None and not deployment.item.enabled:
        yield f"Deployment '{deployment.item.name}' is disabled: a push closes this Listener on the server"
    report = observed.report
    if report is None or report.version == 0:
        yield "the server was not seen with a configuration yet: push first"
        return
    if observed.updated and observed.updated != report.digest:
        yield f"not pushed yet: the server runs version {report.version}, which differs from what is explained here"
    port = next((each for each in report.listeners if deployment and each.id == deployment.id), None)
    if deployment is not None and deployment.item.enabled and port is None:
        yield "the server does not have this Listener yet"
    if port is not None and port.state is not ListenerState.RUNNING:
        yield f"the Listener is {port.state} on the server" + (f": {port.reason}" if port.reason else "")
    if report.intake is not Intake.OPEN:
        yield f"Proxy Server '{server.item.name}' is drained: it takes no new sessions"
    if tunnel is not None:
        yield from _tunnel_warnings(report, tunnel, client)


def _tunnel_warnings(report: Report, tunnel: str, client: str | None) -> Iterator[str]:
    seen = next((each for each in report.tunnels if each.name == tunnel), None)
    if seen is None:
        yield f"the server does not have Tunnel '{tunnel}' yet"
    elif not any(link.client == client and link.state is LinkState.UP for link in seen.links):
        yield f"no link of Proxy Client '{client}' is up on Tunnel '{tunnel}' ({seen.state})"


def _suffices(method: InboundMethod, *, password: bool, keys: int) -> bool:
    if method is InboundMethod.PASSWORD_OR_PUBLIC_KEY:
        return password or keys > 0
    return (password or method is InboundMethod.PUBLIC_KEY) and (keys > 0 or method is InboundMethod.PASSWORD)


def _some(has: object, what: str) -> str:
    return what if has else f"no {what.removeprefix('a ').removeprefix('0 ')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _title(item: Item) -> str:
    return type(item).title


def _at(listener: Listener) -> str:
    return _host_port(listener.address, listener.port)


def _addresses(node: OutboundNode) -> str:
    """In the order in which they are dialled, or with their shares."""
    if node.distribution is Distribution.ORDERED:
        return ", else ".join([_host_port(node.host, node.port), *map(str, node.alternates)])
    shares = [(_host_port(node.host, node.port), node.weight), *((str(each), each.weight) for each in node.alternates)]
    return ", ".join(f"{address} (weight {weight})" for address, weight in shares)


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
