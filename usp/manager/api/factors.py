"""The second factor of one's own logins, and resetting somebody else's."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import Field

from usp.manager.api.access import Body, known
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.model import Model
from usp.secret import Secret

router = APIRouter()

EXAMPLE_CODES = ["abcd-efgh-jkmn-pqrs"]


class Password(Body):
    """Whoever asks shows that it is them."""

    password: Secret = Field(description="The present password")


class Code(Body):
    """What the app shows."""

    code: Secret = Field(description="The six digits that the app shows", examples=["123456"])


class Factor(Model):
    """Whether logins need a second factor."""

    enabled: bool = Field(description="Whether logins need a code")
    since: datetime | None = Field(description="Since when", examples=["2026-01-01T12:00:00Z"])
    recovery_codes: int = Field(description="How many recovery codes are left", examples=[10])


class Enrolment(Model):
    """What an authenticator app needs. It counts once a code was confirmed."""

    secret: str = Field(description="To be typed into the app", examples=["JBSWY3DPEHPK3PXP"])
    uri: str = Field(
        description="The same as the text of a QR code", examples=["otpauth://totp/USP:alice?secret=JBSWY3DPEHPK3PXP"]
    )


class RecoveryCodes(Model):
    """Each stands for a code once, when the app is lost. They are shown this once."""

    recovery_codes: list[str] = Field(description="To be kept on paper", examples=[EXAMPLE_CODES])


@router.get("/me/totp", tags=["access"], operation_id="get_my_totp")
async def get_my_totp(app: TheApp, actor: Asking) -> Factor:
    """Whether one's own logins need a code, too."""
    found = await app.factors.of(actor.user_id)
    if found is None:
        return Factor(enabled=False, since=None, recovery_codes=0)
    return Factor(enabled=True, since=found.confirmed_at, recovery_codes=found.codes_left)


@router.post("/me/totp", tags=["access"], operation_id="enrol_my_totp")
async def enrol_my_totp(app: TheApp, actor: Asking, body: Password) -> Enrolment:
    """A new secret for an authenticator app. Nothing changes before `POST /me/totp/confirm`."""
    secret, uri = await app.factors.begin(actor, known(body.password))
    return Enrolment(secret=secret.reveal(), uri=uri)


@router.post("/me/totp/confirm", tags=["access"], operation_id="confirm_my_totp")
async def confirm_my_totp(app: TheApp, actor: Asking, body: Code) -> RecoveryCodes:
    """From now on one's logins need a code. The answer is the only one that shows the recovery codes."""
    return RecoveryCodes(recovery_codes=list(await app.factors.confirm(actor, body.code.reveal())))


@router.post("/me/totp/recovery-codes", tags=["access"], operation_id="renew_my_recovery_codes")
async def renew_my_recovery_codes(app: TheApp, actor: Asking, body: Password) -> RecoveryCodes:
    """Fresh ones, in place of those that are left."""
    return RecoveryCodes(recovery_codes=list(await app.factors.renew_codes(actor, known(body.password))))


@router.post("/me/totp/remove", tags=["access"], operation_id="remove_my_totp", status_code=204)
async def remove_my_totp(app: TheApp, actor: Asking, body: Password) -> Response:
    """The password alone is enough again."""
    await app.factors.remove(actor, known(body.password))
    return Response(status_code=204)


@router.delete("/users/{name}/totp", tags=["users"], operation_id="reset_totp", status_code=204)
async def reset_totp(app: TheApp, actor: Admin, name: str) -> Response:
    """For who has lost their app and their recovery codes."""
    await app.factors.reset(actor, await app.administrators.find(name))
    return Response(status_code=204)
