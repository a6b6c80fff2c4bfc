"""Admission: one connection's login, conducted. `auth` says what is needed and who judges; here they are asked.

The target is asked last: the partner's password is passed through once all else was accepted, and with dedicated
credentials the target is dialled before the partner is told that the login succeeded. So nobody reaches a target who
is not admitted, and whoever is admitted has one.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, Protocol

from usp.combinations import OutboundCredentials
from usp.errors import UspError
from usp.passwords import Passwords
from usp.secret import Secret
from usp.server.accounts import Account
from usp.server.auth import Judge, Login, Method
from usp.server.messages import Result
from usp.server.prepared import Door
from usp.server.trials import Trial
from usp.sftp.policy import Policy
from usp.ssh import connect, failures
from usp.status import Outcome

DENIALS: Final = {
    Judge.ACCOUNTS: Outcome.AUTH_DENIED,
    Judge.LDAP: Outcome.AUTH_DENIED,
    Judge.TARGET: Outcome.TARGET_DENIED,
    Judge.GUARD: Outcome.AUTH_DENIED,
}
GUARDED: Final = "target_guard"
"""The `reason` of a denial that would otherwise have been the target's to decide."""
_PERHAPS_SHOWN: Final = frozenset({"target.refused", "target.closed"})
"""The target went away: after it had seen the password, as far as we know."""
PARTIAL: Final = "partial"
OK: Final = "ok"


class Host(Protocol):
    """Whose login it is: the session."""

    @property
    def ending(self) -> bool: ...

    @property
    def barred(self) -> bool: ...

    def trial(self) -> AbstractAsyncContextManager[Trial]: ...

    async def dial(self, login: connect.Login) -> None: ...

    def admitted(self) -> None: ...

    def denied(self) -> None: ...

    def fail(self, error: UspError) -> None: ...

    def exhausted(self, outcome: Outcome) -> None: ...

    def tell_login(self, outcome: str, **facts: str) -> None: ...


class Admission:
    def __init__(self, door: Door, passwords: Passwords, host: Host) -> None:
        self.username = ""
        self._door = door
        self._passwords = passwords
        self._host = host
        self._login = Login(door.node.rule)
        self._password: Secret | None = None

    @property
    def complete(self) -> bool:
        return self._login.complete

    @property
    def denied(self) -> Outcome | None:
        """What the last attempt that failed was."""
        return DENIALS[self._login.denied_by] if self._login.denied_by else None

    @property
    def policy(self) -> Policy:
        """What the partner may do: by the Account, or else by the Rule."""
        account = self._account()
        return account.policy if account and account.policy else self._door.policy

    def named(self, username: str) -> None:
        """Another user name begins anew: nothing that was accepted before counts for it (RFC 4252, 5)."""
        if username != self.username:
            self.username, self._password = username, None
            self._login = self._login.restarted()

    def give_up(self) -> None:
        """The partner asks and asks, for what nobody here judges."""
        if not self._host.ending:
            self._host.exhausted(self.denied or Outcome.AUTH_DENIED)

    def offers(self, method: Method) -> bool:
        return not self._host.ending and method in self._login.offered

    def knows_key(self, key: bytes) -> bool:
        account = self._account()
        return account is not None and key in account.public_keys

    def trusts_ca(self, key: bytes) -> bool:
        return key in self._door.trusted_cas and self._account() is not None

    async def password_tried(self, method: Method, password: str) -> bool:
        """Whether it is accepted. asyncssh cancels it when the partner goes or tries something else."""
        if not self.offers(method):
            return False
        self._password = Secret(password) if password else None
        return await self._attempt(method, bool(password))

    async def key_tried(self, fingerprint: str, *, fits: bool, proven: bool) -> bool:
        """As above. `fits`: the Account's, or certified; not `proven`: asked for, with nothing to judge if it fits."""
        if not self.offers(Method.PUBLIC_KEY):
            return False
        if fits and not proven:
            return True
        return await self._attempt(Method.PUBLIC_KEY, fits, key=fingerprint)

    async def _attempt(self, method: Method, plausible: bool, **facts: str) -> bool:
        before = self._login
        facts = {"method": str(method), **facts}
        try:
            judged = plausible and not self._host.barred
            denied_by = await self._denied_by(method) if judged else Judge.ACCOUNTS
            if denied_by is None and before.after(method).complete:
                await self._deliver()
        except asyncio.CancelledError:
            self._settle(self._login.abandoned())
            raise
        except UspError as error:  # nobody has judged the partner: it is told, and not held against anybody
            if not self._host.ending:
                self._host.tell_login(failures.outcome(error), **facts)
                self._host.fail(error)
            return False
        if self._host.ending or self._login is not before:
            return False
        self._settle(before.after(method, denied_by))
        self._tell(denied_by, facts)
        if denied_by is not None:
            self._host.denied()
        elif self._login.complete:
            self._password = None
            self._host.admitted()
        return denied_by is None

    def _settle(self, login: Login) -> None:
        self._login = login
        if login.exhausted and not self._host.ending:
            self._host.exhausted(self.denied or Outcome.AUTH_DENIED)

    def _tell(self, denied_by: Judge | None, facts: dict[str, str]) -> None:
        if denied_by is not None:
            reason = {"reason": GUARDED} if denied_by is Judge.GUARD else {}
            self._host.tell_login(DENIALS[denied_by], **facts, **reason)
        elif self._login.complete:
            self._host.tell_login(OK, **{**facts, "methods": ",".join(sorted(self._login.passed))})
        else:
            self._host.tell_login(PARTIAL, **facts)

    # --- the judges ---

    async def _denied_by(self, method: Method) -> Judge | None:
        """The first judge who says no, if any. A key that comes here fits: asyncssh and `knows_key` have seen to it."""
        for judge in self._login.judges(method):
            assert judge is not Judge.LDAP, "refused by `prepared`"
            if judge is Judge.TARGET:
                return await self._denied_by_target()
            if method is not Method.PUBLIC_KEY and not await self._password_fits():
                return judge
        return None

    async def _password_fits(self) -> bool:
        assert self._door.accounts is not None
        assert self._password is not None
        account = self._account()
        stored = account.password.reveal() if account and account.password else None
        return await self._passwords.verify(stored, self._password.reveal(), self._door.accounts.decoy)

    async def _denied_by_target(self) -> Judge | None:
        """What the target cannot judge (it is away, it has another key) is raised."""
        async with self._host.trial() as trial:
            if not trial.granted:
                return Judge.GUARD
            try:
                await self._host.dial(connect.Login(self._at_target(self.username), self._password))
            except UspError as error:
                if error.code != "target.auth_denied":
                    trial.result = Result.DENIED if error.code in _PERHAPS_SHOWN else Result.UNTRIED
                    raise
                return Judge.TARGET
            trial.result = Result.ACCEPTED
        return None

    async def _deliver(self) -> None:
        """Log in at the target with the Rule's own credentials."""
        if self._door.node.rule.outbound is OutboundCredentials.DEDICATED:
            login = self._door.dedicated
            assert login is not None
            await self._host.dial(replace(login, username=self._at_target(login.username)))

    def _at_target(self, otherwise: str) -> str:
        account = self._account()
        return account.target_username if account and account.target_username else otherwise

    def _account(self) -> Account | None:
        return self._door.accounts.find(self.username) if self._door.accounts else None
