"""Which passwords administrators may have: long enough, not their own name, none that everybody tries first.

The list of common passwords is short because the rule around it is wide: what is left of a password without the digits
and signs around it is looked up, and passwords that merely repeat or count are refused by their pattern.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from usp.errors import Problem

MAX_PASSWORD: Final = 1024

_WORDS: Final = """
    abc abcabc access account admin adminadmin administrador administrator alexander amanda andrew angel apple
    arsenal ashley august autumn azerty backup banana baseball basketball batman buster butterfly changeit
    changeme changemenow charlie cheese chelsea chocolate cisco company computer cookie
    correcthorsebatterystaple daniel database december default demo dragon eagle february flower football
    forever freedom friday friends gateway george ginger guest hallo harley hello helloworld hockey hunter
    iloveyou iloveyousomuch internet january jennifer jessica jesus jordan joshua july june killer letmein
    letmeinnow letmeinplease liverpool login london lovely loveme manager march marina martin master matrix
    matthew merlin michael michelle mickey monday monkey mustang mynameis mypassword nicole ninja november
    october oracle passme passphrase passwd password passwordpassword passwort pepper pokemon postgres
    princess proxy purple qwert qwerty qwertyqwerty qwertz ranger root rootroot samantha samsung saturday
    secret secretsecret security september server service sftp shadow soccer spring starwars summer sunday
    sunshine superman superuser support sysadmin system telekom temp temporary test testing testtest
    thisisapassword thomas thursday tigger toor transfer trustnoone tuesday unknown user username usp vagrant
    vmware wednesday welcome welcomeback whatever windows winter wordpass yankees zaqxsw zxcvbn zxcvbnm
"""
COMMON: Final = frozenset(_WORDS.split())
RUNS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789",
    "qwertyuiop[]",
    "qwertzuiopü",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "azertyuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1q2w3e4r5t6y7u8i9o0p",
)
"""What fingers run along."""
SHORTEST_RUN: Final = 6
LOOKALIKES: Final = str.maketrans("0134578@$!", "oleastbasi")


def problems(password: str, username: str, minimum: int) -> list[Problem]:
    """What is wrong with it; nothing, if it will do."""
    return [Problem(("password",), msg) for msg in _complaints(password, username, minimum)]


def _complaints(password: str, username: str, minimum: int) -> list[str]:
    if not minimum <= len(password) <= MAX_PASSWORD:
        return [f"must have {minimum} to {MAX_PASSWORD} characters"]
    plain = unicodedata.normalize("NFKC", password).casefold()
    if _is_name(plain, username.casefold()):
        return ["must not be made of the user name"]
    if _is_common(plain) or _repeats(plain) or _runs(plain) or _runs(_core(plain)):
        return ["is one of those that are tried first; choose another, such as four words that do not belong together"]
    return []


def _core(text: str) -> str:
    """Without the digits and signs that are put around a word to make a password of it."""
    start, end = 0, len(text)
    while start < end and not text[start].isalpha():
        start += 1
    while end > start and not text[end - 1].isalpha():
        end -= 1
    return text[start:end]


def _is_name(plain: str, name: str) -> bool:
    return bool(name) and (plain in (name, name[::-1], name * 2) or (_core(plain) == _core(name) != ""))


def _is_common(plain: str) -> bool:
    candidates = (plain, _core(plain), _core(plain.translate(LOOKALIKES)), _core(plain).translate(LOOKALIKES))
    words = ["".join(filter(str.isalpha, candidate)) for candidate in candidates]
    return any(
        word in COMMON or (word[: len(word) // 2] in COMMON and word == word[: len(word) // 2] * 2) for word in words
    )


def _repeats(plain: str) -> bool:
    """One to four characters again and again."""
    return any(plain == (plain[:size] * len(plain))[: len(plain)] for size in range(1, 5))


def _runs(plain: str) -> bool:
    """Along the alphabet, the digits or a row of keys, there or back, perhaps several times."""
    if len(plain) < SHORTEST_RUN:
        return False
    runs = (*RUNS, *(run[::-1] for run in RUNS))
    return any(plain in run * (len(plain) // len(run) + 2) for run in runs)
