"""What is an argon2id hash that a server would compute. (Computing them: usp.passwords.)"""

from __future__ import annotations

import re
from typing import Final

PASSWORD_HASH_PATTERN: Final = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,6}),t=(\d{1,2}),p=(\d{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}", re.ASCII
)
"""An argon2id hash in PHC string format (RFC 9106; github.com/P-H-C/phc-string-format)."""
MAX_HASH_COST: Final = (262_144, 16, 16)
"""The most memory (KiB), passes and lanes that a hash may ask for: servers compute it for strangers."""


def is_password_hash(text: str) -> bool:
    """Whether the text is an argon2id hash that a server would compute."""
    found = PASSWORD_HASH_PATTERN.fullmatch(text)
    return found is not None and all(0 < int(n) <= most for n, most in zip(found.groups(), MAX_HASH_COST, strict=True))
