"""Logging in: what a password is worth, how many may be tried, and whose a bearer token is.

A login is a session kept by the store, named by a bearer token of 256 random bits behind `ust_`, of which only the
SHA-256 is kept. A user that nobody has costs the same as a wrong password, in time, in the store and in what is
counted against the name and the address.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from usp.errors import Problem, UspError
from usp.manager import factors, lockout
from usp.manager.lockout import Limits
from usp.manager.store.rows import Event, Factor, Lockout, Login, Role, User
from usp.manager.store.store import Store
from usp.manager.users import TOKEN_PREFIX, Actor, Administrators, digest
from usp.model import USERNAME_PATTERN
from usp.settings import LoginSettings, SecondFactor

LOGIN_PREFIX: Final = "ust_"
PROVIDED_PREFIX: Final = "uso_"
"""Of a login at an OpenID provider, which asks for a second factor itself. The digest is of all of a token: nobody can
make one of the other."""
NO_NAME: Final = "?"
"""Stands for what cannot be a user name: people type passwords into the wrong field."""
TOUCH: Final = timedelta(seconds=60)
"""How exactly `used_at` is kept: a write for every request would be too much."""


def must_have(who: SecondFactor, role: Role) -> bool:
    """Whether logins with a password need a second factor."""
    return who is SecondFactor.ALL or (who is SecondFactor.ADMINS and role is Role.ADMIN)


class Logins:
    """Over the store. `clock` gives the time in UTC."""

    def __init__(
        self, store: Store, settings: LoginSettings, clock: Callable[[], datetime], administrators: Administrators
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._administrators = administrators
        limits = Limits(settings.failures, settings.address_failures, settings.lock_time, settings.max_lock_time)
        self._penalty = partial(lockout.penalty, limits)

    async def login(self, name: str, password: str, peer: str, code: str = "") -> tuple[str, Login, User]:
        """A bearer token. UspError auth.invalid whatever is wrong, auth.locked after too many failures, auth.busy;
        auth.totp when the password is right, and a code of the second factor is missing or not good (any more);
        auth.enrol when there is no second factor, and must be."""
        name = name if re.fullmatch(USERNAME_PATTERN, name) else NO_NAME
        user = await self._verified(name, password, peer, code)
        return await self.begin(user, peer)

    async def finish(self, name: str, code: str, peer: str) -> tuple[str, Login, User]:
        """The second half of a login of which auth.totp was said: for a form that asks for one thing after the other.
        Whoever calls it knows that the password was right a moment ago."""
        subjects = await self._counted(name, peer)
        user = await self._store.users.find(name)
        factor = await self._factor(user) if user and user.enabled else None
        if user is None or factor is None:
            raise UspError("auth.invalid", "this login cannot be finished: begin again")
        await self._use(factor, code, name, peer)
        await self._forget(subjects)
        return await self.begin(user, peer)

    async def begin(self, user: User, peer: str, prefix: str = LOGIN_PREFIX, **detail: Any) -> tuple[str, Login, User]:
        """A login of who has shown who they are. `detail`: how, for the event."""
        now = self._clock()
        text = prefix + secrets.token_urlsafe(32)
        login = Login(
            id=str(uuid4()),
            user_id=user.id,
            digest=digest(text),
            peer=peer,
            created_at=now,
            used_at=now,
            expires_at=now + timedelta(seconds=self._settings.absolute_timeout),
        )
        async with self._store.transaction():
            await self._store.users.add_login(login)
            await self._store.users.end_logins(expired_at=now)
            await self._note(user.name, "login.succeeded", user.name, peer, **detail)
        return text, login, user

    async def change_password(self, actor: Actor, current: str, new: str) -> None:
        """One's own, which the present one must be known for. Ends the other logins of the user."""
        await self.check_password(actor, current, "current")
        await self._administrators.set_password(
            actor.name, new, author=actor.name, peer=actor.peer, keep_login=actor.login_id
        )

    async def check_password(self, actor: Actor, password: str, field: str = "password") -> None:
        """Whoever asks knows their own password; UspError request.invalid at `field`, and it counts as a failure."""
        try:
            await self._verified(actor.name, password, actor.peer)
        except UspError as error:
            if error.code != "auth.invalid":
                raise
            raise UspError("request.invalid", problems=[Problem((field,), "is not the password")]) from None

    async def _verified(self, name: str, password: str, peer: str, code: str | None = None) -> User:
        """The user, if that is the password; with `code`, which may be "", the second factor is looked at, too."""
        self._administrators.passwords.check_queue()
        subjects = await self._counted(name, peer)
        try:
            user = await self._store.users.find(name)
            usable = user is not None and user.enabled
            stored = user.password_hash if user and usable else None
            right = await self._administrators.passwords.verify(stored, password)
        except BaseException:
            for subject in subjects:
                await self._store.lockouts.give_back(subject, self._penalty)
            raise
        if user is None or not right:
            until = max((each.locked_until for each in subjects.values() if each.locked_until), default=None)
            detail = {} if until is None else {"locked_until": until.isoformat()}
            await self._note(name, "login.failed", name, peer, **detail)
            raise UspError("auth.invalid")
        factor = None if code is None else await self._factor(user)
        lacking = code is not None and factor is None and must_have(self._settings.second_factor, user.role)
        if lacking or (factor is not None and not code):
            for subject in subjects:  # half a login is neither a failure nor a success
                await self._store.lockouts.give_back(subject, self._penalty)
            raise UspError("auth.enrol" if lacking else "auth.totp")
        if factor is not None:
            await self._use(factor, code or "", name, peer)
        await self._forget(subjects)
        return user

    async def _factor(self, user: User) -> Factor | None:
        return factors.confirmed(await self._store.factors.get(user.id))

    async def _counted(self, name: str, peer: str) -> Mapping[str, Lockout]:
        """One more attempt of the name and of the address; UspError auth.locked."""
        subjects = (lockout.user_subject(name), lockout.address_subject(peer))
        counted = await self._store.lockouts.count(subjects, self._penalty, now=self._clock())
        return {each.subject: each for each in counted}

    async def _use(self, factor: Factor, code: str, name: str, peer: str) -> None:
        if not await factors.use(self._store, factor, code, self._clock()):
            await self._note(name, "login.failed", name, peer, factor="totp")
            raise UspError("auth.totp", "this code is not right, or was used before: wait for the next one")

    async def _forget(self, subjects: Iterable[str]) -> None:
        """It was right: nothing is held against the user, and one attempt less against the address."""
        for subject in subjects:
            if subject.startswith(f"{lockout.USER}:"):
                await self._store.lockouts.forget(subject)
            else:
                await self._store.lockouts.give_back(subject, self._penalty)

    def needs_factor(self, actor: Actor) -> bool:
        return must_have(self._settings.second_factor, actor.role)

    # --- lock-outs ---

    async def lockouts(self, actor: Actor) -> list[Lockout]:
        actor.require(Role.ADMIN)
        return await self._store.lockouts.all()

    async def release(self, actor: Actor, subject: str) -> None:
        """Forget what was counted against a user name or an address; UspError lockout.not_found."""
        actor.require(Role.ADMIN)
        async with self._store.transaction():
            if not await self._store.lockouts.forget(subject):
                raise UspError("lockout.not_found", f"nothing is counted against '{subject}'")
            await self._note(actor.name, "lockout.release", subject, actor.peer)

    # --- logins that are there ---

    async def all(self, actor: Actor) -> list[tuple[Login, User]]:
        """One's own; all of them as an administrator."""
        found = await self._store.users.logins(None if actor.role is Role.ADMIN else actor.user_id)
        return [(login, user) for login, user in found if self._is_alive(login, user)]

    async def end(self, actor: Actor, id: str) -> None:
        """One's own, or anybody's as an administrator; UspError login.not_found."""
        found = next(((login, user) for login, user in await self.all(actor) if login.id == id), None)
        async with self._store.transaction():
            if found is None or not await self._store.users.delete_login(id):
                raise UspError("login.not_found")
            await self._note(actor.name, "login.revoke", found[1].name, actor.peer, login=id)

    async def logout(self, actor: Actor) -> None:
        """End the login that asks. An API token stays."""
        if actor.login_id:
            async with self._store.transaction():
                await self._store.users.delete_login(actor.login_id)
                await self._note(actor.name, "logout", actor.name, actor.peer)

    # --- bearers ---

    async def authenticate(self, bearer: str, peer: str, *, quietly: bool = False) -> Actor:
        """Whose token that is; UspError auth.invalid, auth.enrol of a login with a password that would not do today.
        `quietly`: a page that refreshes itself asks, nobody's hand; it does not keep a login from becoming idle."""
        actor = None
        if bearer.startswith(TOKEN_PREFIX):
            actor = await self._by_token(bearer, peer)
        elif bearer.startswith((LOGIN_PREFIX, PROVIDED_PREFIX)):
            actor = await self._by_login(bearer, peer, quietly=quietly)
        if actor is None:
            raise UspError("auth.invalid", "the token is not valid, or no longer")
        return actor

    async def _by_token(self, bearer: str, peer: str) -> Actor | None:
        found = await self._store.users.find_token(digest(bearer))
        if found is None:
            return None
        token, user = found
        now = self._clock()
        if not user.enabled or (token.expires_at is not None and token.expires_at <= now):
            return None
        if token.used_at is None or now - token.used_at > TOUCH:
            await self._store.users.token_used(token.id, at=now)
        return Actor(user.name, token.role if user.role is Role.ADMIN else user.role, peer, user.id)

    async def _by_login(self, bearer: str, peer: str, *, quietly: bool) -> Actor | None:
        found = await self._store.users.find_login(digest(bearer))
        if found is None:
            return None
        login, user = found
        now = self._clock()
        if not self._is_alive(login, user):
            await self._store.users.delete_login(login.id)
            return None
        if (
            bearer.startswith(LOGIN_PREFIX)
            and must_have(self._settings.second_factor, user.role)
            and await self._factor(user) is None
        ):
            await self._store.users.delete_login(login.id)
            raise UspError("auth.enrol")
        if not quietly and now - login.used_at > min(TOUCH, self._idle / 4):
            await self._store.users.login_used(login.id, at=now)
        return Actor(user.name, user.role, peer, user.id, login.id)

    @property
    def _idle(self) -> timedelta:
        return timedelta(seconds=self._settings.idle_timeout)

    def _is_alive(self, login: Login, user: User) -> bool:
        now = self._clock()
        return user.enabled and now < login.expires_at and now < login.used_at + self._idle

    async def _note(self, author: str, action: str, target: str, peer: str = "", **detail: Any) -> None:
        event = Event(at=self._clock(), author=author, action=action, target=target, peer=peer, detail=detail)
        await self._store.events.add(event)
