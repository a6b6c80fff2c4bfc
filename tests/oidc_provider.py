"""A small OpenID provider as a process of its own: `python -m tests.oidc_provider PORT`.

It does what OpenID Connect Core 1.0 and RFC 7636 ask of a provider with the code flow, for the one person that
`POST /scenario` says; and it misbehaves as that says: `claims` replace those of the token (null: left out), `alg` and
`key` sign it otherwise, `answer` changes what the browser brings back, `rotate` makes new keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
from typing import Any
from urllib.parse import quote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "usp", "a secret between usp and its provider"


class Provider:
    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.codes: dict[str, dict[str, str]] = {}
        self.scenario: dict[str, Any] = {}
        self.stranger = RSAKey.generate_key(2048, {"kid": "k1"})
        self.renew()

    def renew(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": f"k-{secrets.token_hex(4)}", "alg": "RS256", "use": "sig"})

    async def set(self, request: web.Request) -> web.Response:
        self.scenario = await request.json()
        if self.scenario.get("rotate"):
            self.renew()
        return web.json_response({})

    async def discovery(self, request: web.Request) -> web.Response:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response({**found, **self.scenario.get("discovery", {})})

    async def keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: web.Request) -> web.Response:
        """The person agrees at once."""
        asked = dict(request.query)
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.scenario.get("answer", {})}
        query = urlencode({name: value for name, value in answer.items() if value is not None})
        raise web.HTTPFound(f"{asked['redirect_uri']}?{query}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        proven = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        name_and_secret = f"{quote_plus(CLIENT)}:{quote_plus(SECRET)}"
        expected = "Basic " + base64.b64encode(name_and_secret.encode()).decode()
        if (
            asked is None
            or asked["code_challenge"] != proven
            or asked["redirect_uri"] != form["redirect_uri"]
            or request.headers.get("Authorization") != expected
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1",
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 300,
            "preferred_username": "erika",
            "name": "Erika M.",
            "email": "erika@example.org",
            "groups": ["gateway-admins"],
            **self.scenario.get("claims", {}),
        }
        token = self.signed({name: value for name, value in claims.items() if value is not None})
        found = {"access_token": "x", "token_type": "Bearer", "id_token": token}
        return web.json_response({**found, **self.scenario.get("token", {})})

    def signed(self, claims: dict[str, Any]) -> str:
        match self.scenario.get("alg"):
            case "none":
                return f"{_parts('none', self.key, claims)}."
            case "HS256":  # with the public key as the shared secret
                signed = _parts("HS256", self.key, claims)
                return f"{signed}.{_text(hmac.digest(self.key.as_pem(private=False), signed.encode(), 'sha256'))}"
        key = self.stranger if self.scenario.get("key") == "stranger" else self.key
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, key, algorithms=["RS256"])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parts(alg: str, key: RSAKey, claims: dict[str, Any]) -> str:
    return ".".join(_text(json.dumps(part).encode()) for part in ({"alg": alg, "kid": key.kid}, claims))


def main(port: int) -> None:
    provider = Provider(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.add_routes(
        [
            web.post("/scenario", provider.set),
            web.get("/.well-known/openid-configuration", provider.discovery),
            web.get("/keys", provider.keys),
            web.get("/authorize", provider.authorize),
            web.post("/token", provider.token),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
