"""Passwords: hashed, verified at the same cost whoever it is, remembered for a while."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest_asyncio

from usp import passwords
from usp.argon2id import is_password_hash
from usp.passwords import MAX_LENGTH, Passwords, decoy

PASSWORD = "correct horse"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def checker() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_a_hash_fits_its_password_only(checker: Passwords) -> None:
    stored = await checker.hash(PASSWORD)
    assert is_password_hash(stored)
    assert PASSWORD not in stored
    assert await checker.verify(stored, PASSWORD)
    assert not await checker.verify(stored, PASSWORD + "x")
    assert not await checker.verify(stored, "")
    assert not await checker.verify("garbage", PASSWORD)


async def test_nobody_has_a_password_and_it_costs_as_much(checker: Passwords) -> None:
    stored = await checker.hash(PASSWORD)

    async def seconds(of: str | None) -> float:
        started = time.perf_counter()
        assert not await checker.verify(of, "wrong")
        return time.perf_counter() - started

    await seconds(stored)
    wrong, nobody = min([await seconds(stored) for _ in range(5)]), min([await seconds(None) for _ in range(5)])
    assert 0.5 < nobody / wrong < 2


async def test_forms_of_a_character_and_endless_passwords(checker: Passwords) -> None:
    stored = await checker.hash("caf\u00e9")
    assert await checker.verify(stored, "cafe\u0301")
    longest = "x" * MAX_LENGTH
    assert not await checker.verify(await checker.hash(longest), longest + "y")


def test_a_decoy_is_a_hash_of_the_same_cost() -> None:
    assert is_password_hash(decoy())
    like = "$argon2id$v=19$m=8192,t=5,p=2$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
    assert is_password_hash(decoy(like))
    assert decoy(like).split("$")[3] == "m=8192,t=5,p=2"
    assert decoy() != decoy()


async def test_what_fitted_is_remembered_for_a_while() -> None:
    clock = Clock()
    checker = Passwords(remember=60, clock=clock)
    hashed: list[str] = []
    fits = checker._fits

    def counted(stored: str, password: str) -> bool:
        hashed.append(stored)
        return fits(stored, password)

    checker._fits = counted  # type: ignore[method-assign]
    stored = await checker.hash(PASSWORD)
    for _ in range(3):
        assert await checker.verify(stored, PASSWORD)
    assert len(hashed) == 1
    assert not await checker.verify(stored, "wrong")
    assert not await checker.verify(stored, "wrong")
    assert len(hashed) == 3, "what is wrong is never remembered"
    changed = await checker.hash("another")
    assert not await checker.verify(changed, PASSWORD), "nor is the password before"
    clock.now = 61
    assert await checker.verify(stored, PASSWORD)
    assert len(hashed) == 5
    assert PASSWORD.encode() not in b"".join(checker._fitted)
    checker.close()


async def test_not_more_is_remembered_than_that() -> None:
    checker = Passwords(remember=60)
    for number in range(passwords.MAX_REMEMBERED + 5):
        checker._note(str(number).encode())
    assert len(checker._fitted) == passwords.MAX_REMEMBERED
    assert b"4" not in checker._fitted
    checker.close()
