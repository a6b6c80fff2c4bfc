"""What is wrong with a snapshot is found before it is in force, all of it at once, with its place."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.unit.server.gateway import (
    HOST_LINE,
    OTHER_KEY,
    OTHER_LINE,
    TUNNEL,
    prepared,
    rule,
    settings,
    snapshot,
)
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.policy import Policy, Preset
from usp.secret import Secret
from usp.server.accounts import Account
from usp.server.prepared import link_timing, partner_timing, prepare
from usp.sftp.policy import ALLOW_ALL, Compiled
from usp.snapshot import AccountSpec, ClientSpec, Content, CredentialsSpec, PathSpec, Snapshot
from usp.ssh import keys

PATH = PathSpec(tunnel="t1", client="c1")


def problems(made: Snapshot, server: str = "s1") -> dict[str, str]:
    ready, found = prepare(made.to_wire(), server, settings())
    assert (ready is None) == bool(found)
    return {".".join(map(str, each.loc)): each.msg for each in found}


def changed(made: Snapshot, path: str, value: Any) -> Snapshot:
    """`made` with one field another, and the digest right again."""
    tree = json.loads(made.content.to_wire())
    at = tree
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return Snapshot.of(made.server, made.version, Content.model_validate_json(json.dumps(tree)))


def test_a_good_one() -> None:
    ready, found = prepare(snapshot(22, path=PATH).to_wire(), "s1", settings())
    assert found == ()
    assert ready is not None
    assert list(ready.doors) == [("l1", "n1")]


def test_a_session_outlives_a_peer_that_stands_still_for_a_while_and_a_link_does_not() -> None:
    link, session = link_timing(settings()), partner_timing(settings())
    assert link.keepalive_interval * link.keepalive_count == 15
    assert session.keepalive_interval * session.keepalive_count == 60


@pytest.mark.parametrize("wire", [b"", b"{", b"[]", b'{"protocol": 1, "more": 2}'])
def test_what_is_no_snapshot(wire: bytes) -> None:
    ready, found = prepare(wire, "s1", settings())
    assert ready is None
    assert found


def test_the_envelope() -> None:
    made = snapshot(22)
    assert list(problems(made, "s2")) == ["server"]
    assert list(problems(made.model_copy(update={"digest": "0" * 64}))) == ["digest"]
    assert list(problems(made.model_copy(update={"protocol": 9}))) == ["protocol"]


def test_all_problems_at_once() -> None:
    made = snapshot(22, path=PATH)
    made = changed(made, "listeners.0.nodes.0.host_keys.0", "garbage")
    made = changed(made, "listeners.0.nodes.0.rule.source", "ldap")
    made = changed(made, "listeners.0.target.host_keys.0", "ssh-ed25519 garbage")
    made = changed(made, "listeners.0.path.tunnel", "t2")
    made = changed(made, "tunnels.0.private_key", "garbage")
    found = problems(made)
    assert set(found) == {
        "listeners.0.nodes.0.host_keys",
        "listeners.0.nodes.0.rule",
        "listeners.0.target.host_keys",
        "listeners.0.path.tunnel",
        "tunnels.0",
    }
    assert "garbage" not in str(found)


def test_a_listener_without_target() -> None:
    assert list(problems(changed(snapshot(22), "listeners.0.target", None))) == ["listeners.0.target"]


def test_a_client_with_a_bad_key() -> None:
    client = ClientSpec(id="c1", name="c1", public_key="ssh-ed25519 garbage")
    tunnel = TUNNEL.model_copy(update={"clients": (client,)})
    content = snapshot(22, path=PATH).content.model_copy(update={"tunnels": (tunnel,)})
    assert list(problems(Snapshot.of("s1", 1, content))) == ["tunnels.0"]


def test_direct_mode_needs_no_preparation() -> None:
    made = changed(snapshot(22), "listeners.0.type", "tcp")
    assert list(problems(made)) == ["listeners.0.direct"]
    made = changed(made, "listeners.0.direct", {"filter": {}, "host": "10.0.0.1", "port": 22})
    ready, found = prepare(made.to_wire(), "s1", settings())
    assert found == ()
    assert ready is not None
    assert not ready.doors


def test_accounts_and_credentials() -> None:
    dedicated = CredentialsSpec(username="u", private_key=OTHER_KEY)
    out, source = OutboundCredentials.DEDICATED, InboundSource.ACCOUNT_REPOSITORY
    accounts = [
        AccountSpec(username="a", public_keys=(OTHER_LINE,), target_username="b"),
        AccountSpec(username="c", password=Secret("$argon2id$v=19$m=8,t=1,p=1$x$y")),
    ]
    of = rule(InboundMethod.PASSWORD_OR_PUBLIC_KEY, source, out, dedicated, (HOST_LINE,))
    made = snapshot(22, of=of, accounts=accounts)
    door = prepared(made).doors["l1", "n1"]
    assert door.accounts is not None
    assert len(door.accounts) == 2
    assert door.accounts.find("a") == Account("a", None, frozenset({keys.public_data(OTHER_LINE)}), "b")
    assert door.trusted_cas == {keys.public_data(HOST_LINE)}
    assert door.dedicated is not None
    assert (door.dedicated.username, len(door.dedicated.keys)) == ("u", 1)


def test_policies_are_made_once_for_all_who_have_the_same() -> None:
    strict = Policy(preset=Preset.DOWNLOAD_ONLY)
    accounts = [
        AccountSpec(username="like-the-rule"),
        AccountSpec(username="same", policy=strict),
        AccountSpec(username="anything", policy=Policy()),
    ]
    made = rule(source=InboundSource.ACCOUNT_REPOSITORY).model_copy(update={"policy": strict})
    door = prepared(snapshot(22, of=made, accounts=accounts)).doors["l1", "n1"]
    assert door.accounts is not None
    found = [door.accounts.find(account.username) for account in accounts]
    assert isinstance(door.policy, Compiled)
    assert [account and account.policy for account in found] == [None, door.policy, ALLOW_ALL]


def test_problems_of_accounts_and_credentials() -> None:
    source, out = InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED
    accounts = [AccountSpec(username="a", public_keys=(OTHER_LINE, "ssh-ed25519 garbage"))]
    bad_key = CredentialsSpec(username="u", private_key=Secret("garbage"))
    of = rule(InboundMethod.PUBLIC_KEY, source, out, bad_key, ("ssh-rsa",))
    assert set(problems(snapshot(22, of=of, accounts=accounts))) == {
        "repositories.0.accounts.0.public_keys.1",
        "listeners.0.nodes.0.rule.dedicated",
        "listeners.0.nodes.0.rule.trusted_ca_keys.0",
    }
    without = snapshot(22, of=rule(InboundMethod.PUBLIC_KEY, source, out, CredentialsSpec(username="u")))
    assert set(problems(without)) == {"listeners.0.nodes.0.rule.repository", "listeners.0.nodes.0.rule.dedicated"}


def test_a_key_that_may_not_sign_at_the_target() -> None:
    source, out = InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED
    of = rule(InboundMethod.PASSWORD, source, out, CredentialsSpec(username="u", private_key=OTHER_KEY))
    made = snapshot(22, of=of, accounts=[AccountSpec(username="a")])
    assert problems(made) == {}
    made = changed(made, "listeners.0.target.algorithms", {"signature_types": ["rsa-sha2-512"]})
    assert problems(made) == {
        "listeners.0.nodes.0.rule.dedicated.private_key": "is of a type that the signature types of the Outbound Node "
        "leave out"
    }


def test_ten_thousand_accounts_take_little_time() -> None:
    accounts = [AccountSpec(username=f"u{n}", public_keys=(OTHER_LINE,)) for n in range(10_000)]
    source, out = InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED
    of = rule(InboundMethod.PUBLIC_KEY, source, out, CredentialsSpec(username="u", password=Secret("p")))
    made = snapshot(22, of=of, accounts=accounts)
    started = time.perf_counter()
    assert prepared(made).doors["l1", "n1"].accounts
    assert time.perf_counter() - started < 2
