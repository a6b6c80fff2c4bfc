"""Codes of a second factor: TOTP as authenticator apps make them (RFC 6238), and recovery codes.

A code is good in its own 30 seconds and in those before and after (clocks differ), and once: whoever has seen it typed
cannot use it again. `step` counts the 30 seconds since 1970.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import pyotp

from usp.secret import Secret

ISSUER: Final = "USP"
SLACK: Final = (0, -1, 1)
RECOVERY_CODES: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # without what looks alike
_LENGTH: Final = 16  # 79 bits: a plain hash is enough
MAX_TEXT: Final = 64


def new_secret() -> Secret:
    return Secret(pyotp.random_base32())


def uri(secret: Secret, username: str, manager: str) -> str:
    """What the QR code says (the key URI format of Google Authenticator, which all apps read)."""
    return pyotp.TOTP(secret.reveal()).provisioning_uri(name=f"{username}@{manager}", issuer_name=ISSUER)


def step_of(secret: Secret, code: str, at: datetime) -> int | None:
    """The time step that the code belongs to; None: it is not good at that time."""
    plain = tidied(code)
    if not re.fullmatch(r"[0-9]{6}", plain):
        return None
    totp = pyotp.TOTP(secret.reveal())
    now = totp.timecode(at)
    found = [now + slack for slack in SLACK if hmac.compare_digest(totp.generate_otp(now + slack), plain)]
    return found[0] if found else None


def recovery_codes() -> Sequence[str]:
    """Fresh ones, as they are shown: four groups of four."""
    return tuple(_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))) for _ in range(RECOVERY_CODES))


def recovery_digest(user_id: str, code: str) -> str:
    """What is kept of a recovery code, however it was typed."""
    return hashlib.sha256(f"{user_id}:{tidied(code)}".encode()).hexdigest()


def tidied(code: str) -> str:
    return re.sub(r"[\s-]", "", code[:MAX_TEXT]).lower()


def _grouped(text: str) -> str:
    return "-".join(text[place : place + 4] for place in range(0, len(text), 4))
