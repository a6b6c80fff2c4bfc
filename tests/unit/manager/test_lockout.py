"""Who is the same asker, and how long they wait."""

from __future__ import annotations

import pytest

from usp.manager.lockout import Limits, address_subject, penalty, user_subject

LIMITS = Limits(user=3, address=5, first=30.0, longest=900.0)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "address:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("::1", "address:::/64"),
        ("", "address:"),
        ("x" * 1000, "address:" + "x" * 64),
    ],
)
def test_addresses(address: str, subject: str) -> None:
    assert address_subject(address) == subject


@pytest.mark.parametrize(
    ("failures", "user", "address"),
    [(1, None, None), (2, None, None), (3, 30, None), (4, 60, None), (5, 120, 30), (7, 480, 120), (9, 900, 480),
     (10**6, 900, 900)],
)  # fmt: skip
def test_waits(failures: int, user: float | None, address: float | None) -> None:
    for subject, seconds in ((user_subject("address:x"), user), (address_subject("192.0.2.1"), address)):
        found = penalty(LIMITS, subject, failures)
        assert (found and found.total_seconds()) == seconds
