"""The second factor of a login: enrolling, confirming, using and taking it away.

Whoever enrols shows that they know the password; the factor counts from the first right code on, so that nobody locks
themselves out with an app that did not take it. Each code, of an app or for recovery, is good once, on all managers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from usp.errors import Problem, UspError
from usp.manager import totp
from usp.manager.store.rows import Factor, Role, User
from usp.manager.store.store import Store
from usp.manager.users import Actor
from usp.secret import Secret

Note = Callable[..., Awaitable[None]]


class Factors:
    """`check(actor, password)` refuses a wrong password; `note(actor, action, target, **detail)` leaves an event;
    `mandatory(actor)`: whether they have to have one."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        manager: str,
        check: Callable[[Actor, str], Awaitable[Any]],
        note: Note,
        mandatory: Callable[[Actor], bool],
    ) -> None:
        self._store = store
        self._clock = clock
        self._manager = manager
        self._check = check
        self._note = note
        self._mandatory = mandatory

    async def of(self, user_id: str) -> Factor | None:
        """The user's, when it counts."""
        return confirmed(await self._store.factors.get(user_id))

    async def begin(self, actor: Actor, password: str) -> tuple[Secret, str]:
        """A new secret, and the URI that apps read. It takes the place of one that was never confirmed.

        UspError factor.exists, request.invalid."""
        await self._check(actor, password)
        return await self.start(actor)

    async def start(self, actor: Actor) -> tuple[Secret, str]:
        """The same of somebody whose password was right a moment ago."""
        secret = totp.new_secret()
        async with self._store.transaction():
            if await self.of(actor.user_id) is not None:
                raise UspError("factor.exists")
            await self._store.factors.put(Factor(actor.user_id, secret, self._clock()))
        return secret, totp.uri(secret, actor.name, self._manager)

    async def enrolling(self, actor: Actor) -> tuple[Secret, str]:
        """The secret that waits to be confirmed, to be shown again; UspError factor.not_found."""
        factor = await self._waiting(actor)
        return factor.secret, totp.uri(factor.secret, actor.name, self._manager)

    async def _waiting(self, actor: Actor) -> Factor:
        factor = await self._store.factors.get(actor.user_id)
        if factor is None or factor.confirmed_at is not None:
            raise UspError("factor.not_found", "nothing waits to be confirmed: enrol first")
        return factor

    async def confirm(self, actor: Actor, code: str) -> Sequence[str]:
        """From now on logins need it; recovery codes, which are shown this once."""
        factor = await self._waiting(actor)
        step = totp.step_of(factor.secret, code, self._clock())
        if step is None:
            raise UspError("request.invalid", problems=[Problem(("code",), "is not the code that the app shows now")])
        codes = totp.recovery_codes()
        async with self._store.transaction():
            if not await self._store.factors.confirm(actor.user_id, step, self._clock()):
                raise UspError("catalog.conflict")
            await self._put_codes(actor.user_id, codes)
            await self._note(actor, "totp.enable", actor.name)
        return codes

    async def renew_codes(self, actor: Actor, password: str) -> Sequence[str]:
        """Fresh recovery codes in place of those that are left."""
        await self._check(actor, password)
        await self._required(actor.user_id)
        codes = totp.recovery_codes()
        async with self._store.transaction():
            await self._put_codes(actor.user_id, codes)
            await self._note(actor, "totp.recovery_codes", actor.name)
        return codes

    async def remove(self, actor: Actor, password: str) -> None:
        """One's own; UspError factor.mandatory."""
        await self._check(actor, password)
        if self._mandatory(actor):
            raise UspError("factor.mandatory")
        await self._required(actor.user_id)
        await self._delete(actor, actor.user_id, actor.name)

    async def reset(self, actor: Actor, user: User) -> None:
        """Somebody's who has lost it."""
        actor.require(Role.ADMIN)
        await self._required(user.id)
        await self._delete(actor, user.id, user.name)

    async def _required(self, user_id: str) -> None:
        if await self.of(user_id) is None:
            raise UspError("factor.not_found")

    async def _put_codes(self, user_id: str, codes: Sequence[str]) -> None:
        await self._store.factors.put_codes(user_id, [totp.recovery_digest(user_id, code) for code in codes])

    async def _delete(self, actor: Actor, user_id: str, name: str) -> None:
        async with self._store.transaction():
            await self._store.factors.delete(user_id)
            await self._note(actor, "totp.disable", name)


async def use(store: Store, factor: Factor, code: str, at: datetime) -> bool:
    """Whether that is a code of it that was not used before. It is used then."""
    step = totp.step_of(factor.secret, code, at)
    if step is not None:
        return await store.factors.use_step(factor.user_id, step)
    return await store.factors.use_code(factor.user_id, totp.recovery_digest(factor.user_id, code))


def confirmed(factor: Factor | None) -> Factor | None:
    """The factor, when it counts."""
    return factor if factor is not None and factor.confirmed_at is not None else None
