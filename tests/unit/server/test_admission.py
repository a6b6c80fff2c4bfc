"""Logins under every Rule, with real SSH on both sides: what the target sees, and what the audit log is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncssh
import pytest

from tests.tunnel_pair import until
from tests.unit.server.gateway import (
    HASHER,
    HOST_KEY,
    HOST_LINE,
    OTHER_KEY,
    OTHER_LINE,
    PASSWORD,
    USER,
    Gateway,
    Target,
    serving,
)
from tests.unit.server.gateway import rule as make_rule
from usp.algorithms import Algorithms
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.policy import OpClass, Policy
from usp.secret import Secret
from usp.server.messages import MayTry, Result, Tried, Verdict
from usp.server.session import AWAY
from usp.server.trials import Trials
from usp.snapshot import AccountSpec, CredentialsSpec, RuleSpec
from usp.ssh import keys
from usp.status import Outcome

PASSTHROUGH, DEDICATED = OutboundCredentials.PASSTHROUGH, OutboundCredentials.DEDICATED
PASSWORD_METHOD, KEY_METHOD = InboundMethod.PASSWORD, InboundMethod.PUBLIC_KEY
EITHER, BOTH = InboundMethod.PASSWORD_OR_PUBLIC_KEY, InboundMethod.PASSWORD_AND_PUBLIC_KEY
KEY, LINE = keys.generate()
SECOND_KEY, SECOND_LINE = keys.generate("ecdsa-sha2-nistp256")
CA_KEY, CA_LINE = keys.generate()
ALICE = AccountSpec(username=USER, password=Secret(HASHER.hash(PASSWORD)), public_keys=(LINE, SECOND_LINE))
NO_PASSWORD = AccountSpec(username="nopassword", public_keys=(OTHER_LINE,))
BY_KEY = CredentialsSpec(username="gateway", private_key=OTHER_KEY)
MINE = asyncssh.import_private_key(KEY.reveal())
SECOND = asyncssh.import_private_key(SECOND_KEY.reveal())
FOREIGN = asyncssh.import_private_key(OTHER_KEY.reveal())


def rule(method: InboundMethod, out: OutboundCredentials, **more: Any) -> RuleSpec:
    dedicated = more.pop("dedicated", BY_KEY) if out is DEDICATED else None
    return make_rule(method, InboundSource.ACCOUNT_REPOSITORY, out, dedicated, **more)


def serve(
    target: Target, of: RuleSpec, accounts: Sequence[AccountSpec] = (ALICE, NO_PASSWORD), **made: Any
) -> AbstractAsyncContextManager[Gateway]:
    target.authorized = {OTHER_LINE}
    return serving(target.port, of=of, accounts=accounts, **made)


async def gets_in(gateway: Gateway, password: str | None = None, *mine: asyncssh.SSHKey, **options: Any) -> None:
    async with (
        gateway.partner(password, client_keys=list(mine) or None, **options) as partner,
        partner.start_sftp_client() as sftp,
    ):
        await sftp.stat("/")
    assert await gateway.outcome() is Outcome.COMPLETED


async def is_refused(gateway: Gateway, password: str | None = None, *mine: asyncssh.SSHKey, **options: Any) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with gateway.partner(password, client_keys=list(mine) or None, **options):
            pass


def logins(gateway: Gateway) -> list[tuple[str, str]]:
    return [(fact["method"], fact["outcome"]) for fact in gateway.told("login")]


# Passwords


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
async def test_rule_2_checks_and_passes_through(target: Target, method: str) -> None:
    async with serve(target, rule(PASSWORD_METHOD, PASSTHROUGH)) as gateway:
        await gets_in(gateway, PASSWORD, preferred_auth=[method])
        assert target.seen == [(USER, "password")]
        assert logins(gateway) == [(method, "ok")]
        assert PASSWORD not in str(gateway.facts)


async def test_rule_2_does_not_bother_the_target_with_what_is_wrong(target: Target) -> None:
    async with serve(target, rule(PASSWORD_METHOD, PASSTHROUGH)) as gateway:
        await is_refused(gateway, "wrong")
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert (target.seen, target.connections) == ([], set())
        assert [outcome for _, outcome in logins(gateway)] == ["auth_denied"]
        assert gateway.decided == [(False, USER)]


async def test_rule_2_when_the_target_knows_another_password(target: Target) -> None:
    target.users = {USER: "another"}
    async with serve(target, rule(PASSWORD_METHOD, PASSTHROUGH)) as gateway:
        await is_refused(gateway, PASSWORD)
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert [outcome for _, outcome in logins(gateway)] == ["target_denied"]
        assert gateway.decided == [(False, USER)]


@pytest.mark.parametrize("username", ["nobody", "nopassword"])
async def test_who_is_unknown_or_has_no_password_looks_like_a_wrong_password(target: Target, username: str) -> None:
    async with serve(target, rule(PASSWORD_METHOD, DEDICATED)) as gateway:
        offered: list[Sequence[str]] = []

        class Client(asyncssh.SSHClient):
            def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
                self.conn = conn

            def password_auth_requested(self) -> str | None:
                offered.append(sorted(self.conn.get_server_auth_methods()))
                return "wrong" if len(offered) < 3 else None

        for name in (username, USER):
            offered.clear()
            await is_refused(gateway, None, username=name, client_factory=Client, preferred_auth=["password"])
            assert offered == [["password"]] * 3
            assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert logins(gateway) == [("password", "auth_denied")] * 4
        assert not target.seen


async def test_rule_3_logs_in_with_the_rules_own_key(target: Target) -> None:
    async with serve(target, rule(PASSWORD_METHOD, DEDICATED)) as gateway:
        await gets_in(gateway, PASSWORD)
        assert set(target.seen) == {("gateway", "publickey")}
        await is_refused(gateway, "wrong")
        assert await gateway.outcome() is Outcome.AUTH_DENIED


async def test_one_password_is_judged_once(target: Target) -> None:
    """OpenSSH's client tries keyboard-interactive and then password: here it is left with the first."""
    async with serving(target.port) as gateway:

        class Stubborn(asyncssh.SSHClient):
            def kbdint_auth_requested(self) -> str:
                return ""

            def kbdint_challenge_received(self, *_: Any) -> list[str] | None:
                return ["wrong"] if not target.seen else None

            def password_auth_requested(self) -> str:
                return "wrong"

        await is_refused(gateway, None, client_factory=Stubborn)
        assert target.seen == [(USER, "password")]
        assert await gateway.outcome() is Outcome.TARGET_DENIED


async def test_a_question_left_unanswered_leaves_the_password(target: Target) -> None:
    async with serving(target.port) as gateway:

        class Odd(asyncssh.SSHClient):
            asked = 0

            def kbdint_auth_requested(self) -> str | None:
                self.asked += 1
                return "" if self.asked == 1 else None

            def kbdint_challenge_received(self, *_: Any) -> list[str]:
                return ["one", "two"]

            def password_auth_requested(self) -> str:
                return PASSWORD

        await gets_in(gateway, None, client_factory=Odd)
        assert target.seen == [(USER, "password")]


# Keys


@pytest.mark.parametrize("key", [MINE, SECOND])
async def test_rule_9_takes_any_of_the_accounts_keys(target: Target, key: asyncssh.SSHKey) -> None:
    async with serve(target, rule(KEY_METHOD, DEDICATED)) as gateway:
        await gets_in(gateway, None, key)
        assert set(target.seen) == {("gateway", "publickey")}
        assert logins(gateway) == [("publickey", "ok")]
        assert gateway.told("login")[0]["key"] == keys.fingerprint(key)
        assert gateway.told("login")[0]["methods"] == "publickey"


async def test_a_key_whose_signature_type_the_node_leaves_out(target: Target) -> None:
    only = Algorithms(signature_types=("ssh-ed25519",))
    async with serve(target, rule(KEY_METHOD, DEDICATED), algorithms=only) as gateway:
        await gets_in(gateway, None, MINE)
        await is_refused(gateway, None, SECOND)
        assert await gateway.outcome() is Outcome.AUTH_DENIED


async def test_rule_9_refuses_all_else(target: Target) -> None:
    async with serve(target, rule(KEY_METHOD, DEDICATED)) as gateway:
        await is_refused(gateway, PASSWORD)
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED, "nothing was tried that could have been judged"
        await is_refused(gateway, PASSWORD, FOREIGN)
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        await is_refused(gateway, None, MINE, username="nobody")
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert logins(gateway) == [("publickey", "auth_denied")] * 2
        assert not target.seen


async def test_rule_8_takes_either(target: Target) -> None:
    async with serve(target, rule(EITHER, DEDICATED)) as gateway:
        await gets_in(gateway, PASSWORD)
        await gets_in(gateway, None, MINE)
        await gets_in(gateway, PASSWORD, FOREIGN)
        await is_refused(gateway, "wrong", FOREIGN)
        assert await gateway.outcome() is Outcome.AUTH_DENIED


# Both


@pytest.mark.parametrize("order", [["publickey", "password"], ["password", "publickey"]])
@pytest.mark.parametrize("out", [PASSTHROUGH, DEDICATED])
async def test_rules_6_and_7_take_both_in_either_order(target: Target, order: list[str], out: Any) -> None:
    async with serve(target, rule(BOTH, out)) as gateway:
        await gets_in(gateway, PASSWORD, MINE, preferred_auth=order)
        assert logins(gateway) == [(order[0], "partial"), (order[1], "ok")]
        assert gateway.told("login")[1]["methods"] == "password,publickey"
        assert gateway.decided == [(True, USER)], "one of both decides nothing"
        seen = (USER, "password") if out is PASSTHROUGH else ("gateway", "publickey")
        assert set(target.seen) == {seen}


@pytest.mark.parametrize("order", [["publickey", "password"], ["password", "publickey"]])
@pytest.mark.parametrize(
    ("password", "key"), [(PASSWORD, FOREIGN), ("wrong", MINE), ("wrong", FOREIGN), (PASSWORD, None), (None, MINE)]
)
async def test_one_of_both_is_not_enough(
    target: Target, order: list[str], password: str | None, key: asyncssh.SSHKey | None
) -> None:
    async with serve(target, rule(BOTH, PASSTHROUGH)) as gateway:
        await is_refused(gateway, password, *([key] if key else []), preferred_auth=order)
        assert await gateway.outcome() in (Outcome.AUTH_DENIED, Outcome.PARTNER_CLOSED)
        assert not target.seen, "the target is asked last"
        assert "ok" not in [outcome for _, outcome in logins(gateway)]


@pytest.mark.parametrize("order", [["publickey", "password"], ["password", "publickey"]])
async def test_rule_7_when_the_target_refuses_the_password(target: Target, order: list[str]) -> None:
    target.users = {}
    async with serve(target, rule(BOTH, PASSTHROUGH)) as gateway:
        await is_refused(gateway, PASSWORD, MINE, preferred_auth=order)
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert target.seen == [(USER, "password")]


async def test_what_one_user_has_shown_does_not_count_for_another(target: Target) -> None:
    """The key of one, then the password of another."""
    bob = AccountSpec(username="bob", password=Secret(HASHER.hash("bobs")), public_keys=(OTHER_LINE,))
    async with serve(target, rule(BOTH, PASSTHROUGH), accounts=(ALICE, bob)) as gateway:

        class Turncoat(asyncssh.SSHClient):
            def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
                self.conn = conn

            def password_auth_requested(self) -> str | None:
                if self.conn._username == USER:
                    self.conn._username = "bob"
                    return "bobs"
                return None

        await is_refused(gateway, None, MINE, client_factory=Turncoat)
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED
        assert [(fact["username"], fact["outcome"]) for fact in gateway.told("login")] == [
            (USER, "partial"),
            ("bob", "partial"),
        ]
        assert not target.seen


# Certificates


def certified(**more: Any) -> Any:
    ca = asyncssh.import_private_key(CA_KEY.reveal())
    mine = asyncssh.generate_private_key("ssh-ed25519")
    certificate = ca.generate_user_certificate(mine, "id", **{"principals": [USER], **more})
    return [(mine, certificate)]


async def test_a_certificate_of_a_trusted_ca_is_a_key(target: Target) -> None:
    async with serve(target, rule(KEY_METHOD, DEDICATED, trusted_ca_keys=(CA_LINE,))) as gateway:
        async with gateway.partner(None, client_keys=certified()) as partner, partner.start_sftp_client() as sftp:
            await sftp.stat("/")
        assert await gateway.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize(
    "certificate",
    [
        {"principals": ["bob"]},
        {"principals": []},
        {"valid_before": "20200101"},
        {"valid_after": "20990101", "valid_before": "20990102"},
        {"force_command": "rsync"},
        {"source_address": ["192.0.2.0/24"]},
    ],
)
async def test_certificates_that_are_not(target: Target, certificate: dict[str, Any]) -> None:
    async with serve(target, rule(KEY_METHOD, DEDICATED, trusted_ca_keys=(CA_LINE,))) as gateway:
        with pytest.raises(asyncssh.PermissionDenied):
            async with gateway.partner(None, client_keys=certified(**certificate)):
                pass
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert not target.seen


@pytest.mark.parametrize(("trusted", "username"), [((), USER), ((OTHER_LINE,), USER), ((CA_LINE,), "nobody")])
async def test_only_for_accounts_and_of_a_trusted_ca(target: Target, trusted: tuple[str, ...], username: str) -> None:
    async with serve(target, rule(KEY_METHOD, DEDICATED, trusted_ca_keys=trusted)) as gateway:
        with pytest.raises(asyncssh.PermissionDenied):
            async with gateway.partner(None, client_keys=certified(principals=[username]), username=username):
                pass
        assert await gateway.outcome() is Outcome.AUTH_DENIED


# The target, with dedicated credentials


async def test_user_names_are_mapped(target: Target) -> None:
    mapped = ALICE.model_copy(update={"target_username": "alice2"})
    target.users = {"alice2": PASSWORD}
    async with serve(target, rule(PASSWORD_METHOD, PASSTHROUGH), accounts=(mapped,)) as gateway:
        await gets_in(gateway, PASSWORD)
    async with serve(target, rule(PASSWORD_METHOD, DEDICATED), accounts=(mapped,)) as gateway:
        await gets_in(gateway, PASSWORD)
    assert {username for username, _ in target.seen} == {"alice2"}


async def test_a_target_that_refuses_the_rules_credentials(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """The partner is told no more than that it is not available; nothing weaker is tried after the key."""
    both = CredentialsSpec(username=USER, password=Secret(PASSWORD), private_key=KEY)
    async with serve(target, rule(PASSWORD_METHOD, DEDICATED, dedicated=both)) as gateway:
        with pytest.raises(asyncssh.DisconnectError, match=AWAY):
            async with gateway.partner():
                pass
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert target.seen == [(USER, "publickey")]
        assert [outcome for _, outcome in logins(gateway)] == ["target_denied"]
        assert gateway.decided == [], "it is not the partner's fault"
    assert "code=target.auth_denied" in capsys.readouterr().err


async def test_a_password_alone_at_the_target(target: Target) -> None:
    dedicated = CredentialsSpec(username=USER, password=Secret(PASSWORD))
    async with serve(target, rule(KEY_METHOD, DEDICATED, dedicated=dedicated)) as gateway:
        await gets_in(gateway, None, MINE)
        assert target.seen == [(USER, "password")]


# The rest


async def test_the_banner_comes_before_the_login(target: Target) -> None:
    class Reader(asyncssh.SSHClient):
        text = ""

        def auth_banner_received(self, msg: str, lang: str) -> None:
            Reader.text += msg

    async with serving(target.port, banner="Authorised\npartners only.") as gateway:
        async with gateway.partner(client_factory=Reader):
            pass
        await gateway.outcome()
    assert Reader.text == "Authorised\r\npartners only.\r\n"


async def test_several_host_keys(target: Target) -> None:
    async with serving(target.port, host_keys=(HOST_KEY, SECOND_KEY)) as gateway:
        for line, type in ((SECOND_LINE, "ecdsa-sha2-nistp256"), (HOST_LINE, "ssh-ed25519")):
            known: Any = ([keys.parse_public(line)], [], [])
            async with gateway.partner(server_host_key_algs=[type], known_hosts=known):
                pass
            assert await gateway.outcome() is Outcome.COMPLETED


async def test_attempts_that_are_not_awaited_count(target: Target) -> None:
    """Requests in one go cancel one another (RFC 4252, 5.1): no free tries at the target."""
    async with serving(target.port) as gateway:

        class Hasty(asyncssh.SSHClient):
            def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
                self.conn = conn

            async def password_auth_requested(self) -> str | None:
                from asyncssh.packet import Boolean, String

                for _ in range(8):
                    await self.conn.send_userauth_request(b"password", Boolean(False), String("wrong"))
                    await asyncio.sleep(0.05)
                return None

        with pytest.raises(asyncssh.DisconnectError):
            async with gateway.partner(None, client_factory=Hasty, preferred_auth=["password"]):
                pass
        assert await gateway.outcome() in (Outcome.AUTH_DENIED, Outcome.TARGET_DENIED)
        assert len(target.seen) <= 6
        await until(lambda: not target.connections)


# The target guard


class Guarded:
    """What a supervisor answers: `granted`. What it hears: `told`."""

    def __init__(self, gateway: Gateway, *, granted: bool) -> None:
        self.told: list[MayTry | Tried] = []
        self._granted = granted
        self._trials = Trials(self._hear)
        gateway.trial = lambda username: self._trials.trial("s", "target", username)

    def _hear(self, message: MayTry | Tried) -> None:
        self.told.append(message)
        if isinstance(message, MayTry):
            verdict = Verdict(attempt=message.attempt, granted=self._granted)
            asyncio.get_running_loop().call_soon(self._trials.answered, verdict)

    @property
    def results(self) -> list[Result]:
        return [message.result for message in self.told if isinstance(message, Tried)]


async def test_whom_the_guard_denies_the_target_does_not_see(target: Target) -> None:
    async with serve(target, make_rule()) as gateway:
        guarded = Guarded(gateway, granted=False)
        await is_refused(gateway, PASSWORD)
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert (target.seen, target.connections) == ([], set())
        assert [(fact["outcome"], fact["reason"]) for fact in gateway.told("login")] == [
            ("auth_denied", "target_guard")
        ]
        assert gateway.decided == [(False, USER)]
        assert guarded.told[0] == MayTry(session="s", attempt=1, target="target", username=USER)
        assert guarded.results == [Result.UNTRIED]


async def test_who_is_denied_by_the_guard_may_show_the_password_again(target: Target) -> None:
    """As after a denial by the target, all that was accepted before still is."""
    async with serve(target, rule(BOTH, PASSTHROUGH)) as gateway:
        Guarded(gateway, granted=False)
        with pytest.raises(asyncssh.PermissionDenied):
            async with gateway.partner(PASSWORD, client_keys=[MINE]):
                pass
        assert await gateway.outcome() is Outcome.AUTH_DENIED
        assert target.seen == []


async def test_the_guard_hears_what_came_of_it(target: Target) -> None:
    async with serve(target, make_rule()) as gateway:
        guarded = Guarded(gateway, granted=True)
        await gets_in(gateway, PASSWORD)
        await is_refused(gateway, "wrong")
        assert await gateway.outcome() is Outcome.TARGET_DENIED
        assert guarded.results == [Result.ACCEPTED, Result.DENIED]
    await target.stop()
    async with serve(target, make_rule()) as gateway:
        guarded = Guarded(gateway, granted=True)
        with pytest.raises(asyncssh.DisconnectError):
            async with gateway.partner(PASSWORD):
                pass
        assert await gateway.outcome() is Outcome.TARGET_UNREACHABLE
        assert guarded.results == [Result.UNTRIED], "nobody was there to see it"


async def test_only_what_the_target_would_judge_is_guarded(target: Target) -> None:
    async with serve(target, rule(PASSWORD_METHOD, PASSTHROUGH)) as gateway:
        guarded = Guarded(gateway, granted=True)
        await is_refused(gateway, "wrong")
        assert await gateway.outcome() is Outcome.AUTH_DENIED
    async with serve(target, rule(PASSWORD_METHOD, DEDICATED)) as gateway:
        guarded = Guarded(gateway, granted=False)
        await gets_in(gateway, PASSWORD)
        assert guarded.told == []


@pytest.mark.parametrize(
    ("of_account", "allowed"),
    [(None, False), (Policy(), True), (Policy(deny=(OpClass.MKDIR,)), False)],
)
async def test_an_accounts_policy_stands_instead_of_the_rules(
    target: Target, of_account: Policy | None, allowed: bool
) -> None:
    strict = rule(PASSWORD_METHOD, PASSTHROUGH).model_copy(update={"policy": Policy(deny=(OpClass.MKDIR,))})
    account = ALICE.model_copy(update={"policy": of_account})
    async with serve(target, strict, accounts=(account,)) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            if allowed:
                await sftp.mkdir("/d")
            else:
                with pytest.raises(asyncssh.SFTPPermissionDenied, match="mkdir is not allowed"):
                    await sftp.mkdir("/d")
        assert (target.root / "d").exists() is allowed
