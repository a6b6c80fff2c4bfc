from __future__ import annotations

import pytest

from usp.argon2id import is_password_hash

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (HASH, True),
        (HASH.replace("19456", "262144"), True),
        (HASH.replace("19456", "262145"), False),
        (HASH.replace("t=2", "t=17"), False),
        (HASH.replace("p=1", "p=0"), False),
        (HASH.replace("argon2id", "argon2i"), False),
        (HASH.replace("v=19", "v=16"), False),
        (HASH + "\n", False),
        (HASH[:-10], False),
        ("correct horse", False),
    ],
)
def test_what_is_a_hash_that_a_server_would_compute(text: str, accepted: bool) -> None:
    assert is_password_hash(text) is accepted
