"""What is asked of an OpenID provider, and what its answers are worth. (With a real one: ui/test_oidc.py.)"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from usp.errors import UspError
from usp.manager.oidc import Endpoints, challenge, claims_of, code_of, endpoints, key_of, person_of, question
from usp.settings import OidcSettings

ISSUER = "https://id.example.org/realm"
SETTINGS = OidcSettings(issuer=ISSUER, client_id="usp", admin_groups=("a",), read_only_groups=("r",))
FOUND = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth?x=1", "token_endpoint": ISSUER, "jwks_uri": ISSUER}
WHERE = endpoints(ISSUER, FOUND)
KEY = RSAKey.generate_key(2048, {"kid": "k"})
NOW = 1_800_000_000.0
CLAIMS = {"iss": ISSUER, "aud": "usp", "sub": "1", "nonce": "n", "iat": NOW, "exp": NOW + 60}
TICKET = {"state": "s"}


def test_pkce_as_the_standard_has_it() -> None:
    """RFC 7636, appendix B."""
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_question() -> None:
    url = question(SETTINGS, WHERE, redirect="https://m/cb", state="s", nonce="n", verifier="v")
    assert url.startswith(f"{ISSUER}/auth?x=1&response_type=code&")
    asked = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert (asked["redirect_uri"], asked["state"], asked["nonce"]) == ("https://m/cb", "s", "n")
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (challenge("v"), "S256")
    assert "v" not in asked.values()
    assert asked["scope"].startswith("openid ")


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": f"{ISSUER}/"},
        {"issuer": None},
        {"token_endpoint": None},
        {"jwks_uri": "http://id.example.org/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_a_provider_that_is_not_as_it_should_be(changed: dict[str, Any]) -> None:
    with pytest.raises(UspError) as caught:
        endpoints(ISSUER, {**FOUND, **changed})
    assert caught.value.code == "oidc.unavailable"


def refusal(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(UspError) as caught:
        call(*arguments, **more)
    assert caught.value.code == "oidc.refused"
    return caught.value.message


def test_the_browsers_answer() -> None:
    assert code_of({"state": "s", "code": "c"}, TICKET, WHERE) == "c"
    assert code_of({"state": "s", "code": "c", "iss": ISSUER}, TICKET, WHERE) == "c"
    names_itself = Endpoints(*(ISSUER,) * 4, True)
    assert "another provider" in refusal(code_of, {"state": "s", "code": "c"}, TICKET, names_itself)
    assert "another provider" in refusal(code_of, {"state": "s", "code": "c", "iss": "x"}, TICKET, WHERE)
    for state in ({}, {"state": ""}, {"state": "ß"}):
        assert "another login" in refusal(code_of, {"code": "c", **state}, TICKET, WHERE)
    assert "no code" in refusal(code_of, {"state": "s"}, TICKET, WHERE)
    assert "denied" in refusal(code_of, {"state": "s", "code": "c", "error": "denied"}, TICKET, WHERE)


def claims(token: str, keys: KeySet | None = None) -> Any:
    return claims_of(SETTINGS, token, keys or KeySet([KEY]), nonce="n", now=NOW)


def signed(**changed: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k"}, {**CLAIMS, **changed}, KEY)


def test_tokens() -> None:
    assert claims(signed())["sub"] == "1"
    assert claims(signed(aud=["other", "usp"], azp="usp"))["sub"] == "1"
    assert claims(signed(exp=NOW - 59))["sub"] == "1", "clocks differ"
    assert "expired" in refusal(claims, signed(exp=NOW - 60))
    assert "no exp" in refusal(claims, signed(exp=True))
    assert "not of this time" in refusal(claims, signed(iat=NOW - 601))
    assert "not of this time" in refusal(claims, signed(iat=NOW + 61))
    assert "somebody else" in refusal(claims, signed(aud={"usp": 1}))
    for token in ("", "x", "a.b", "a.b.c", "é.é.é", signed()[:-8] + "AAAAAAAA"):
        assert "not signed" in refusal(claims, token)
    shared = OctKey.generate_key(256, {"kid": "k"})
    by_secret = jwt.encode({"alg": "HS256", "kid": "k"}, CLAIMS, shared)
    assert "not signed" in refusal(claims, by_secret, KeySet([shared]))


def test_which_key_a_token_names() -> None:
    assert key_of(signed()) == "k"
    assert [key_of(token) for token in ("", "x", "W10.x.y", "e30.x.y")] == ["", "", "", ""]


def test_people() -> None:
    about = {"sub": "1", "preferred_username": "erika", "groups": ["x", "a", 7], "name": "E\x00", "email": 1}
    found = person_of(SETTINGS, about)
    assert (found.subject, found.name, found.admin, found.full_name, found.email) == ("1", "erika", True, "", "")
    assert not person_of(SETTINGS, {**about, "groups": "r s"}).admin
    assert "groups" in refusal(person_of, SETTINGS, {**about, "groups": []})
    assert "who it is" in refusal(person_of, SETTINGS, {**about, "sub": ""})
