"""OpenID Connect, decided: what is asked of a provider, and whether what it answers lets somebody in. Without I/O.

Code flow with PKCE (RFC 7636), state and nonce. A token counts when it is signed with one of the provider's own keys by
an algorithm with a public key (never `none`, never with a shared secret), is meant for us, is in its time, and answers
this very login (its nonce). Which provider a login began with is part of its address and of its ticket, and the `iss`
of the answer (RFC 9207) has to agree, so that one provider cannot answer for another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from usp.errors import UspError
from usp.model import USERNAME_PATTERN
from usp.settings import OidcSettings

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
SKEW: Final = 60
"""Seconds by which clocks may differ."""
OLDEST: Final = 600
"""A token that was made longer ago is no answer to a login of now."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a provider says of itself."""

    issuer: str
    authorization: str
    token: str
    keys: str
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is at a provider, and whether they may do everything here."""

    subject: str
    name: str
    admin: bool
    full_name: str
    email: str


def refused(reason: str) -> UspError:
    return UspError("oidc.refused", reason)


def endpoints(issuer: str, found: Mapping[str, Any]) -> Endpoints:
    """Of the provider's discovery document; UspError oidc.unavailable."""
    if found.get("issuer") != issuer:
        raise UspError(
            "oidc.unavailable", f"the provider calls itself {str(found.get('issuer'))[:200]!r}, not {issuer!r}"
        )
    urls = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    safe = urlsplit(issuer).scheme
    for url in urls:
        if not isinstance(url, str) or urlsplit(url).scheme not in ("https", safe):
            raise UspError("oidc.unavailable", "the provider does not say where to ask it, by https")
    authorization, token, keys = map(str, urls)
    names_itself = found.get("authorization_response_iss_parameter_supported") is True
    return Endpoints(issuer, authorization, token, keys, names_itself)


def question(settings: OidcSettings, where: Endpoints, *, redirect: str, state: str, nonce: str, verifier: str) -> str:
    """Where the browser is sent."""
    asked = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(settings.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return f"{where.authorization}{'&' if '?' in where.authorization else '?'}{urlencode(asked)}"


def challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def code_of(answer: Mapping[str, str], ticket: Mapping[str, Any], where: Endpoints) -> str:
    """The code in the browser's answer; UspError oidc.refused unless it answers this login, from this provider."""
    if not hmac.compare_digest(answer.get("state", "").encode(), str(ticket["state"]).encode()):
        raise refused("this answer belongs to another login: begin again")
    named = answer.get("iss")
    if named != where.issuer and (named is not None or where.names_itself):
        raise refused("another provider has answered")
    if "error" in answer:
        raise refused(f"the provider says {answer['error'][:60]!r}")
    if not answer.get("code"):
        raise refused("the provider gave no code")
    return answer["code"]


def key_of(token: str) -> str:
    """The name of the key that a token says it was signed with; "" if none."""
    part = token.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return ""
    return str(header.get("kid", "")) if isinstance(header, dict) else ""


def claims_of(settings: OidcSettings, token: str, keys: KeySet, *, nonce: str, now: float) -> Mapping[str, Any]:
    """What the token says; UspError oidc.refused."""
    try:
        claims = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
    except (JoseError, ValueError, TypeError, KeyError):
        raise refused("the provider's token is not signed as it should be") from None
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if claims.get("iss") != settings.issuer:
        raise refused("the token is of another issuer")
    if settings.client_id not in audiences:
        raise refused("the token is meant for somebody else")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != settings.client_id:
        raise refused("the token was given to somebody else")
    if _time(claims, "exp") <= now - SKEW:
        raise refused("the token has expired")
    if not now - OLDEST <= _time(claims, "iat") <= now + SKEW or _time(claims, "nbf", now) > now + SKEW:
        raise refused("the token is not of this time: are the clocks right?")
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise refused("the token answers another login")
    return claims


def _time(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"the token has no {name}")
    return float(value)


def person_of(settings: OidcSettings, claims: Mapping[str, Any]) -> Person:
    """UspError oidc.refused when their groups let them do nothing here."""
    subject, name = claims.get("sub"), claims.get(settings.name_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise refused("the token does not say who it is about")
    if not isinstance(name, str) or not re.fullmatch(USERNAME_PATTERN, name):
        raise refused(f"the claim {settings.name_claim!r} is no user name: letters, digits, '.', '@', '-' and '_'")
    groups = _groups(claims.get(settings.groups_claim))
    admin = not groups.isdisjoint(settings.admin_groups)
    if not admin and groups.isdisjoint(settings.read_only_groups):
        raise refused("none of your groups may administer this gateway")
    return Person(subject, name, admin, _words(claims.get("name")), _words(claims.get("email")))


def _groups(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split())
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def _words(value: Any) -> str:
    return value[:254] if isinstance(value, str) and value.isprintable() else ""
