"""Logging in at an OpenID provider: asking it, and letting its people in. What is decided: `usp.manager.oidc`.

Nothing of a login that has begun is kept here: a ticket in the browser holds it, which any manager opens. What a
provider says of itself and its keys are remembered for some minutes, and asked for again when a token names a key that
is new.

A person becomes a user the first time, without a password, whose role follows their groups at every login. A user who
was made here is never taken over by a name alone.
"""

from __future__ import annotations

import base64
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from usp.errors import UspError
from usp.manager import oidc
from usp.manager.logins import PROVIDED_PREFIX, Logins
from usp.manager.oidc import Endpoints, Person
from usp.manager.store.rows import Event, Login, Role, User
from usp.manager.store.store import Store
from usp.manager.tickets import Tickets
from usp.manager.users import Actor, Administrators
from usp.settings import OidcSettings

TICKET: Final = "oidc"
TICKET_SECONDS: Final = 600
REMEMBERED: Final = 600.0
PATIENCE: Final = 10.0
MAX_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and the ticket that it brings back."""

    url: str
    ticket: str


class Providers:
    """`configured`: by their labels, in the order of the settings. `clock` gives the time in UTC."""

    def __init__(
        self,
        configured: Mapping[str, OidcSettings],
        store: Store,
        administrators: Administrators,
        logins: Logins,
        tickets: Tickets,
        clock: Callable[[], datetime],
    ) -> None:
        self.configured = configured
        self._store = store
        self._administrators = administrators
        self._logins = logins
        self._tickets = tickets
        self._clock = clock
        self._known: dict[str, tuple[float, Endpoints, KeySet]] = {}

    def _settings(self, label: str) -> OidcSettings:
        found = self.configured.get(label)
        if found is None:
            raise UspError("request.unknown", f"no OpenID provider is called '{label}' here")
        return found

    async def begin(self, label: str, redirect: str, after: str) -> Begun:
        """`redirect`: where the provider sends the browser back to; `after`: the page that was wanted."""
        settings = self._settings(label)
        where, _ = await self._provider(label)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        facts = {
            "provider": label,
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "redirect": redirect,
            "after": after,
        }
        url = oidc.question(settings, where, redirect=redirect, state=state, nonce=nonce, verifier=verifier)
        return Begun(url, self._tickets.seal(TICKET, facts, TICKET_SECONDS))

    async def finish(
        self, label: str, ticket: str, answer: Mapping[str, str], peer: str
    ) -> tuple[str, Login, User, str]:
        """A bearer token, and the page that was wanted. UspError oidc.refused, oidc.unavailable."""
        settings = self._settings(label)
        facts = await self._tickets.open(TICKET, ticket)
        if facts is None or facts["provider"] != label:  # anybody can ask for this: it leaves no event
            raise oidc.refused("this login was not begun here, or long ago: begin again")
        try:
            where, _ = await self._provider(label)
            code = oidc.code_of(answer, facts, where)
            token = await self._exchange(settings, where, code, facts)
            keys = await self._keys(label, oidc.key_of(token))
            claims = oidc.claims_of(settings, token, keys, nonce=facts["nonce"], now=self._clock().timestamp())
            person = oidc.person_of(settings, claims)
            user = await self._user(label, settings.issuer, person)
        except UspError as error:
            if error.code == "oidc.refused":
                await self._note("login.failed", label, peer, provider=label, reason=error.message)
            raise
        made, login, user = await self._logins.begin(user, peer, PROVIDED_PREFIX, provider=label)
        return made, login, user, str(facts["after"])

    async def _user(self, label: str, issuer: str, person: Person) -> User:
        """The person's user, with the role of now; UspError oidc.refused."""
        role = Role.ADMIN if person.admin else Role.READ_ONLY
        id = await self._store.identities.user_of(issuer, person.subject)
        if id is None:
            if await self._store.users.find(person.name) is not None:
                raise oidc.refused(f"a user '{person.name}' was made here: an administrator has to remove it first")
            async with self._store.transaction():
                user = await self._administrators.add(
                    person.name, role, None, author=f"oidc:{label}", full_name=person.full_name, email=person.email
                )
                await self._store.identities.add(issuer, person.subject, user.id)
            return user
        user = await self._store.users.get(id)
        if not user.enabled:
            raise oidc.refused(f"the user '{user.name}' is disabled here")
        if user.role is not role:
            actor = Actor(f"oidc:{label}", Role.ADMIN)
            user = await self._administrators.change(actor, user.id, {"role": role})
        return user

    # --- asking the provider ---

    async def _provider(self, label: str, *, anew: bool = False) -> tuple[Endpoints, KeySet]:
        known = self._known.get(label)
        if known is not None and not anew and time.monotonic() < known[0]:
            return known[1], known[2]
        settings = self._settings(label)
        address = f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        where = oidc.endpoints(settings.issuer, await _asked(settings, "GET", address))
        try:
            keys = KeySet.import_key_set(await _asked(settings, "GET", where.keys))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError):
            raise UspError("oidc.unavailable", "the provider's keys cannot be read") from None
        self._known[label] = (time.monotonic() + REMEMBERED, where, keys)
        return where, keys

    async def _keys(self, label: str, name: str) -> KeySet:
        _, keys = await self._provider(label)
        if name and all(key.kid != name for key in keys.keys):
            _, keys = await self._provider(label, anew=True)
        return keys

    async def _exchange(self, settings: OidcSettings, where: Endpoints, code: str, facts: Mapping[str, Any]) -> str:
        """The code for a token."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": facts["redirect"],
            "code_verifier": facts["verifier"],
        }
        secret = settings.secret()
        headers = {}
        if secret is None:
            form["client_id"] = settings.client_id
        else:
            headers["Authorization"] = _basic(settings.client_id, secret.reveal())
        found = await _asked(settings, "POST", where.token, data=form, headers=headers)
        token = found.get("id_token")
        if not isinstance(token, str):
            raise oidc.refused("the provider gave no token")
        return token

    async def _note(self, action: str, target: str, peer: str, **detail: Any) -> None:
        event = Event(at=self._clock(), author=f"oidc:{target}", action=action, target=target, peer=peer, detail=detail)
        await self._store.events.add(event)


def _basic(name: str, secret: str) -> str:
    """RFC 6749, section 2.3.1."""
    return "Basic " + base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()


async def _asked(settings: OidcSettings, method: str, url: str, **more: Any) -> dict[str, Any]:
    """A JSON object; UspError oidc.unavailable, and for what the provider refuses, oidc.refused."""
    trusted: ssl.SSLContext | bool = ssl.create_default_context(cafile=settings.ca) if settings.ca else True
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trusted)) as session,
            session.request(method, url, allow_redirects=False, **more) as response,
        ):
            text = await response.content.read(MAX_ANSWER + 1)
            while text and len(text) <= MAX_ANSWER and (rest := await response.content.read(MAX_ANSWER)):
                text += rest
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UspError("oidc.unavailable", f"the OpenID provider does not answer: {type(error).__name__}") from None
    if response.status in (400, 401, 403):
        raise oidc.refused(f"the provider does not take the login ({response.status})")
    if response.status != 200 or len(text) > MAX_ANSWER:
        raise UspError("oidc.unavailable", f"the OpenID provider answers {response.status}")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UspError("oidc.unavailable", "the OpenID provider does not answer in JSON")
    return found
