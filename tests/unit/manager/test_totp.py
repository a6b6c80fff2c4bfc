"""Codes of a second factor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from usp.manager import totp
from usp.secret import Secret

RFC_SECRET = Secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")  # RFC 6238, appendix B: "12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_the_vectors_of_the_standard(seconds: int, code: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    assert totp.step_of(RFC_SECRET, code, at) == seconds // 30
    assert totp.step_of(RFC_SECRET, f" {code[:3]} {code[3:]} ", at) == seconds // 30


def test_a_code_is_good_half_a_minute_early_and_late_and_no_more() -> None:
    code, step = "081804", 1111111109 // 30
    for late, found in ((0, step), (-30, step), (30, step), (-60, None), (60, None)):
        seconds = 1111111109 + late
        assert totp.step_of(RFC_SECRET, code, datetime.fromtimestamp(seconds, UTC)) == found, seconds


@pytest.mark.parametrize("code", ["", "28708", "2870820", "abcdef", "２８７０８２", "287082" * 1000])
def test_what_is_no_code(code: str) -> None:
    assert totp.step_of(RFC_SECRET, code, datetime.fromtimestamp(59, UTC)) is None


def test_what_an_app_reads_gives_the_same_codes() -> None:
    secret, now = totp.new_secret(), datetime.now(UTC)
    assert secret != totp.new_secret()
    found = urlsplit(totp.uri(secret, "alice@example.org", "usp-manager"))
    assert (found.scheme, found.netloc) == ("otpauth", "totp")
    assert unquote(found.path) == "/USP:alice@example.org@usp-manager"
    (key,) = parse_qs(found.query)["secret"]
    assert totp.step_of(secret, pyotp.TOTP(key).at(now), now) == pyotp.TOTP(key).timecode(now)
    assert len(secret.reveal()) * 5 >= 160  # RFC 4226, section 4


def test_recovery_codes() -> None:
    codes = totp.recovery_codes()
    assert len(set(codes)) == totp.RECOVERY_CODES
    assert all(len(code) == 19 and not set("01ilo") & set(code) for code in codes)
    typed = f"  {codes[0].replace('-', ' ').upper()} "
    assert totp.recovery_digest("u1", typed) == totp.recovery_digest("u1", codes[0])
    assert totp.recovery_digest("u2", codes[0]) != totp.recovery_digest("u1", codes[0])
    assert codes[0] not in totp.recovery_digest("u1", codes[0])
    assert totp.step_of(RFC_SECRET, codes[0], datetime.now(UTC) + timedelta()) is None
