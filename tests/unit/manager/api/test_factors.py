"""The second factor over HTTP."""

from __future__ import annotations

import pyotp

from tests.unit.manager.api.calls import Api, Clock, refused

PASSWORD = "a password of carol's"


async def carol(admin: Api, nobody: Api) -> Api:
    await admin("POST", "/users", {"username": "carol", "password": PASSWORD})
    answer = await nobody("POST", "/login", {"username": "carol", "password": PASSWORD})
    return Api(nobody.http, answer.json()["token"])


async def test_from_enrolling_to_reset(admin: Api, nobody: Api, clock: Clock) -> None:
    me = await carol(admin, nobody)
    assert (await me("GET", "/me/totp")).json() == {"enabled": False, "since": None, "recovery_codes": 0}
    wrong = await me("POST", "/me/totp", {"password": "x" * 5000})
    assert refused(wrong, 422, "request.invalid") == [(("password",), "is not the password")]
    enrolment = (await me("POST", "/me/totp", {"password": PASSWORD})).json()
    phone = pyotp.parse_uri(enrolment["uri"])
    assert isinstance(phone, pyotp.TOTP)
    assert phone.secret == enrolment["secret"]
    refused(await me("POST", "/me/totp/confirm", {"code": "x"}), 422, "request.invalid")
    confirmed = await me("POST", "/me/totp/confirm", {"code": phone.at(clock())})
    assert len(confirmed.json()["recovery_codes"]) == 10
    shown = (await me("GET", "/me/totp")).json()
    assert (shown["enabled"], shown["recovery_codes"]) == (True, 10)
    assert enrolment["secret"] not in str(shown)
    assert (await admin("GET", "/users/carol")).json()["has_totp"] is True
    assert [each["has_totp"] for each in (await admin("GET", "/users")).json()["items"]] == [False, True]

    credentials = {"username": "carol", "password": PASSWORD}
    refused(await nobody("POST", "/login", credentials), 401, "auth.totp")
    refused(await nobody("POST", "/login", {**credentials, "totp": "000 000 000"}), 401, "auth.totp")
    clock.pass_(seconds=30)
    code = phone.at(clock())
    assert (await nobody("POST", "/login", {**credentials, "totp": code})).status_code == 200
    refused(await nobody("POST", "/login", {**credentials, "totp": code}), 401, "auth.totp")
    recovery = (await me("POST", "/me/totp/recovery-codes", {"password": PASSWORD})).json()["recovery_codes"]
    assert (await nobody("POST", "/login", {**credentials, "totp": recovery[0]})).status_code == 200

    refused(await me("DELETE", "/users/carol/totp"), 403, "auth.forbidden")
    assert (await admin("DELETE", "/users/carol/totp")).status_code == 204
    assert (await nobody("POST", "/login", credentials)).status_code == 200
    refused(await admin("DELETE", "/users/carol/totp"), 404, "factor.not_found")
    refused(await admin("DELETE", "/users/nobody/totp"), 404, "user.not_found")


async def test_ones_own_goes_with_the_password(admin: Api, nobody: Api, clock: Clock) -> None:
    me = await carol(admin, nobody)
    secret = (await me("POST", "/me/totp", {"password": PASSWORD})).json()["secret"]
    await me("POST", "/me/totp/confirm", {"code": pyotp.TOTP(secret).at(clock())})
    refused(await me("POST", "/me/totp", {"password": PASSWORD}), 409, "factor.exists")
    refused(await me("POST", "/me/totp/remove", {"password": "wrong"}), 422, "request.invalid")
    assert (await me("POST", "/me/totp/remove", {"password": PASSWORD})).status_code == 204
    assert (await me("GET", "/me/totp")).json()["enabled"] is False
