"""Which node, rule, account, target and path a partner gets, and the reason for every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from tests.catalogs import changed, edit, sample
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog, Create
from usp.manager.explain import Explanation, Observed, Question, StepName, explain
from usp.model import ListenerType
from usp.status import Intake, LinkState, LinkStatus, ListenerState, ListenerStatus, Report, TunnelStatus

HERE, BLOCKED, USER = "198.51.100.7", "192.0.2.9", "acme@example.org"
PARTNER = {"default": "block", "allow": ["198.51.100.0/24"]}


def catalog(*edits: tuple[str, str, dict[str, Any]]) -> Catalog:
    """The sample, with node 'high' for a partner's network by Rule 'dedicated', and what else is edited."""
    made = changed(
        sample(),
        Create("ip-filters", {"name": "partner", **PARTNER}),
    )
    made = changed(made, edit(made, "inbound-nodes", "high", ip_filter="partner", rule="dedicated"))
    for kind, key, fields in edits:
        made = changed(made, edit(made, kind, key, **fields))
    return made


def ask(made: Catalog, observed: Observed | None = None, **other: str) -> Explanation:
    question = Question(**{"server": "dmz", "listener": "sftp", "source": HERE, "user": USER, **other})
    found = explain(made, question, observed or Observed())
    refused = [step for step in found.steps if not step.ok and step.step is not StepName.INBOUND_NODE]
    assert found.ok is (not refused) or found.steps[-1].step is StepName.INBOUND_NODE
    return found


def texts(found: Explanation, step: StepName) -> list[str]:
    return [each.text for each in found.steps if each.step is step]


def test_all_of_the_way() -> None:
    found = ask(catalog())
    assert found.ok
    assert list(dict.fromkeys(step.step for step in found.steps)) == [
        "server",
        "listener",
        "deployment",
        "inbound_node",
        "rule",
        "account",
        "target",
        "path",
    ]
    named = (found.inbound_node, found.rule, found.account, found.target, found.tunnel, found.proxy_client)
    assert named == ("high", "dedicated", "acme", "target", "tunnel", "lan")
    assert found.deployment == catalog().get("deployments", "sftp-dmz").id
    assert texts(found, StepName.LISTENER) == ["Listener 'sftp' (sftp) on 0.0.0.0:2222"]
    high, low = texts(found, StepName.INBOUND_NODE)
    assert high == (
        "Inbound Node 'high' (priority 9): takes it: IP Filter 'partner' allows 198.51.100.7,"
        " since the allow rule 198.51.100.0/24 matches"
    )
    assert "'low' (priority 1): would take it" in low
    assert "but 'high' comes first" in low
    assert texts(found, StepName.ACCOUNT) == [
        "Account 'acme' in Account Repository 'partners' has a password and 1 public key"
    ]
    (target,) = texts(found, StepName.TARGET)
    assert "sftp.internal:22" in target
    assert "as 'gateway' with the Rule's password and private key" in target
    assert texts(found, StepName.PATH) == ["through Tunnel 'tunnel' from Proxy Client 'lan'"]
    assert "SECRET" not in found.model_dump_json()


def test_addresses_are_told_as_they_are_dialled() -> None:
    alternates: list[dict[str, Any]] = [{"host": "10.0.0.2"}, {"host": "::1", "port": 2022}]
    (told,) = texts(ask(catalog(("outbound-nodes", "target", {"alternates": alternates}))), StepName.TARGET)
    assert "'target', sftp.internal:22, else 10.0.0.2:22, else [::1]:2022, as" in told
    (told,) = texts(ask(catalog(("outbound-nodes", "target", {"send_proxy_v2": True}))), StepName.TARGET)
    assert "sftp.internal:22, told the partner's address by a PROXY header, as" in told
    alternates[0]["weight"] = 0
    shares = {"alternates": alternates, "distribution": "weighted", "weight": 3}
    (told,) = texts(ask(catalog(("outbound-nodes", "target", shares))), StepName.TARGET)
    assert "'target', sftp.internal:22 (weight 3), 10.0.0.2:22 (weight 0), [::1]:2022 (weight 1), as" in told


def test_the_next_node_by_priority() -> None:
    found = ask(catalog(), source="203.0.113.1", user="anybody")
    assert found.ok
    assert (found.inbound_node, found.rule, found.account) == ("low", "passthrough", "")
    assert "does not take it: IP Filter 'partner' blocks 203.0.113.1, since no rule matches" in found.steps[3].text
    assert not found.steps[3].ok
    assert texts(found, StepName.ACCOUNT) == ["the target alone decides whether 'anybody' may log in"]
    assert "as 'anybody' with the partner's own password" in texts(found, StepName.TARGET)[0]


def test_no_node_at_all() -> None:
    found = ask(catalog(), source=BLOCKED)
    assert not found.ok
    assert found.steps[-1].text == "no Inbound Node takes 192.0.2.9: the connection is closed at once"
    assert "the block rule 192.0.2.0/24 matches" in found.steps[-2].text
    assert found.inbound_node == ""


def test_a_disabled_node_is_left_out_and_a_disabled_filter_is_told() -> None:
    found = ask(catalog(("inbound-nodes", "high", {"enabled": False}), ("ip-filters", "everyone", {"enabled": False})))
    assert found.inbound_node == "low"
    assert found.steps[3].text.endswith("is disabled")
    assert "the filter is disabled" in found.steps[4].text


@pytest.mark.parametrize(
    ("kind", "key", "step", "words"),
    [
        ("proxy-servers", "dmz", StepName.SERVER, "Proxy Server 'dmz' is disabled"),
        ("listeners", "sftp", StepName.LISTENER, "Listener 'sftp' is disabled"),
        ("routes", "route", StepName.INBOUND_NODE, "Route 'route' is disabled"),
        ("rules", "dedicated", StepName.RULE, "Rule 'dedicated' is disabled"),
        ("account-repositories", "partners", StepName.ACCOUNT, "Account Repository 'partners' is disabled"),
        ("accounts", "acme", StepName.ACCOUNT, "Account 'acme' in Account Repository 'partners' is disabled"),
        ("outbound-nodes", "target", StepName.TARGET, "Outbound Node 'target' is disabled"),
        ("public-keys", "target-key", StepName.TARGET, "all Public Keys of Outbound Node 'target' are disabled"),
        ("tunnels", "tunnel", StepName.PATH, "Tunnel 'tunnel' is disabled"),
        ("proxy-clients", "lan", StepName.PATH, "Proxy Client 'lan' is disabled"),
    ],
)
def test_what_is_disabled_refuses(kind: str, key: str, step: StepName, words: str) -> None:
    found = ask(catalog((kind, key, {"enabled": False})))
    assert not found.ok
    assert (found.steps[-1].step, found.steps[-1].text, found.steps[-1].ok) == (step, words, False)


def test_accounts_that_cannot_log_in() -> None:
    assert "no Account with user name 'nobody'" in ask(catalog(), user="nobody").steps[-1].text
    keyless: dict[str, Any] = {"public_keys": []}
    both = {"inbound_method": "password_and_public_key"}
    found = ask(catalog(("accounts", "acme", keyless), ("rules", "dedicated", both)))
    assert not found.ok
    assert found.steps[-1].text == (
        "Account 'acme' in Account Repository 'partners' has a password and no public keys,"
        " while the Rule asks for a public key and a password, both"
    )
    only_key = ("rules", "dedicated", {"inbound_method": "public_key"})
    assert not ask(catalog(("accounts", "acme", keyless), only_key)).ok
    assert ask(catalog(only_key)).ok
    assert ask(catalog(("rules", "dedicated", {"inbound_method": "password"} | DEDICATED_BY_PASSWORD))).ok
    assert ask(catalog(("accounts", "acme", keyless))).ok
    disabled_key = ("public-keys", "client-key", {"enabled": False})
    assert "no public keys" in texts(ask(catalog(disabled_key)), StepName.ACCOUNT)[0]


def test_a_certificate_is_a_public_key_too() -> None:
    only_key = ("rules", "dedicated", {"inbound_method": "public_key", "trusted_ca_keys": ["target-key"]})
    found = ask(catalog(("accounts", "acme", {"public_keys": []}), only_key))
    assert found.ok
    assert "no public keys (or a certificate of 1 trusted CA key)" in texts(found, StepName.ACCOUNT)[0]


def test_an_account_may_have_its_own_name_at_the_target() -> None:
    own = ("accounts", "acme", {"target_username": "acme-at-home"})
    assert "as 'acme-at-home' with the Rule's" in texts(ask(catalog(own)), StepName.TARGET)[0]


DEDICATED_BY_PASSWORD: dict[str, Any] = {"private_key": None}


def test_dedicated_by_password_only() -> None:
    found = ask(catalog(("rules", "dedicated", DEDICATED_BY_PASSWORD)))
    assert "with the Rule's password;" in texts(found, StepName.TARGET)[0]


def test_shared_connections_are_told() -> None:
    shared = ("outbound-nodes", "target", {"connection_reuse": True, "sessions_per_connection": 5})
    (own,), (by_default,) = texts(ask(catalog(shared)), StepName.TARGET), texts(ask(catalog()), StepName.TARGET)
    assert "private key on a connection that up to 5 sessions share; pinned" in own
    assert "private key; pinned" in by_default
    (passed,) = texts(ask(catalog(shared), source="203.0.113.1", user="anybody"), StepName.TARGET)
    assert "password on a connection of its own (connection_reuse is for dedicated credentials)" in passed


def test_ldap_is_not_there_yet() -> None:
    ldap = {"inbound_method": "password", "inbound_source": "ldap", "account_repository": None}
    assert ask(catalog(("rules", "dedicated", ldap))).steps[-1].text == "LDAP is not available yet"


def test_a_listener_that_is_not_deployed_there() -> None:
    found = ask(catalog(), server="dmz2")
    assert found.steps[-1].text == "Listener 'sftp' is not deployed on Proxy Server 'dmz2'"
    assert (found.ok, found.deployment) == (False, "")


def test_direct_mode() -> None:
    deploy = {"name": "tcp-dmz", "listener": "tcp", "proxy_server": "dmz"}
    made = changed(
        catalog(("listeners", "tcp", {"address": "::", "target_host": "fd00::7"})), Create("deployments", deploy)
    )
    found = ask(made, listener="tcp")
    assert found.ok
    assert "on [::]:2224" in texts(found, StepName.LISTENER)[0]
    assert found.target == "[fd00::7]:22"
    assert texts(found, StepName.PATH) == ["directly from Proxy Server 'dmz'"]
    refused = ask(made, listener="tcp", source=BLOCKED)
    assert (refused.steps[-1].step, refused.ok) == (StepName.SOURCE, False)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"server": "nowhere"}, "item.not_found"),
        ({"listener": "nothing"}, "item.not_found"),
        ({"source": "partner.example"}, "request.invalid"),
    ],
)
def test_questions_that_make_no_sense(other: dict[str, str], code: str) -> None:
    with pytest.raises(UspError) as caught:
        ask(catalog(), None, **other)
    assert caught.value.code == code


# --- what is true only now ---


def report(
    made: Catalog, state: ListenerState = ListenerState.RUNNING, *links: LinkStatus, version: int = 3, **other: Any
) -> Report:
    listener = ListenerStatus(
        id=made.get("deployments", "sftp-dmz").id,
        name="sftp",
        type=ListenerType.SFTP,
        address="0.0.0.0",
        port=2222,
        state=state,
        reason=other.pop("reason", ""),
    )
    tunnel = TunnelStatus(id="t", name="tunnel", address="0.0.0.0", port=2223, state=ListenerState.RUNNING, links=links)
    fields = {"listeners": (listener,), "tunnels": (tunnel,), **other}
    return Report(server="dmz", software="1", boot="b", started_at=0.0, version=version, digest="d" * 64, **fields)


UP = LinkStatus(id="l", client="lan", slot=0, state=LinkState.UP, peer="p")


def test_nothing_to_warn_of() -> None:
    made = catalog()
    found = ask(made, Observed(report(made, ListenerState.RUNNING, UP), updated="d" * 64))
    assert found.warnings == ()


def test_warnings() -> None:
    made = catalog()

    def warned(seen: Report | None, updated: str = "", *problems: Problem) -> tuple[str, ...]:
        return ask(made, Observed(seen, updated, problems)).warnings

    assert warned(None) == ("the server was not seen with a configuration yet: push first",)
    assert warned(report(made, version=0)) == ("the server was not seen with a configuration yet: push first",)
    assert warned(report(made, ListenerState.RUNNING, UP), "e" * 64) == (
        "not pushed yet: the server runs version 3, which differs from what is explained here",
    )
    assert warned(report(made, ListenerState.STOPPED, UP)) == ("the Listener is stopped on the server",)
    assert warned(report(made, ListenerState.FAILED, UP, reason="in use")) == (
        "the Listener is failed on the server: in use",
    )
    assert warned(report(made, ListenerState.RUNNING, UP, listeners=())) == (
        "the server does not have this Listener yet",
    )
    down = UP.model_copy(update={"state": LinkState.HANDSHAKING})
    assert warned(report(made, ListenerState.RUNNING, down)) == (
        "no link of Proxy Client 'lan' is up on Tunnel 'tunnel' (running)",
    )
    assert warned(report(made, tunnels=())) == ("the server does not have Tunnel 'tunnel' yet",)
    assert warned(report(made, ListenerState.RUNNING, UP, intake=Intake.CLOSED)) == (
        "Proxy Server 'dmz' is drained: it takes no new sessions",
    )
    broken = Problem(("rules", "dedicated", "inbound_method"), "is not available yet")
    first, _ = warned(None, "", broken)
    assert first.startswith("nothing can be pushed to 'dmz' as it is: rules.dedicated.inbound_method: is not")


def test_a_disabled_deployment_is_a_warning() -> None:
    made = catalog(("deployments", "sftp-dmz", {"enabled": False}))
    found = ask(made, Observed(report(made, ListenerState.RUNNING, UP)))
    assert found.ok
    assert found.warnings == ("Deployment 'sftp-dmz' is disabled: a push closes this Listener on the server",)


def test_without_a_deployment_there_is_no_port_to_warn_of() -> None:
    made = catalog()
    assert ask(made, Observed(report(made)), server="dmz2").warnings == ()
