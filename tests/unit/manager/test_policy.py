"""Passwords that will do, and those that will not."""

from __future__ import annotations

import pytest

from usp.manager.policy import MAX_PASSWORD, problems

GOOD = ["correct horse battery", "a password of admin's", "another password", "tropical giraffe", "kL9#vmQ2xx!w",
        "ünïcödé wörds", "000000000000 sheep", "administratrix of gates"]  # fmt: skip
COMMON = ["password1234", "P@ssw0rd2024!", "123456789012", "098765432109", "qwertyuiop12", "aaaaaaaaaaaa",
          "abcabcabcabc", "Summer2026!!!", "Welcome12345", "letmein-letmein", "1qaz2wsx3edc", "zyxwvutsrqpo",
          "PASSWORDPASSWORD", "!!!!!!!!!!!!", "..iloveyou..", "\uff50assword1234"]  # fmt: skip


@pytest.mark.parametrize("password", GOOD)
def test_good_ones(password: str) -> None:
    assert problems(password, "admin", 12) == []


@pytest.mark.parametrize("password", COMMON)
def test_what_everybody_tries_first(password: str) -> None:
    (problem,) = problems(password, "", 12)
    assert problem.loc == ("password",)
    assert problem.msg.startswith("is one of those that are tried first")


@pytest.mark.parametrize("password", ["first.operator", "FIRST.OPERATOR", "rotarepo.tsrif", "12first.operator!"])
def test_the_user_name(password: str) -> None:
    assert "user name" in problems(password, "first.operator", 12)[0].msg


def test_lengths() -> None:
    assert problems("k7#mQ2x!", "admin", 8) == []
    assert "8 to 1024 characters" in problems("k7#mQ2x", "admin", 8)[0].msg
    assert problems("k7 " + "xy" * 510, "admin", 12) == []
    assert problems("kx" * 510 + "12345", "admin", 12) != []
    assert MAX_PASSWORD == 1024
