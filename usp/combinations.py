"""How partners log in: the three choices of a Rule, and the nine combinations of them that make sense (product.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class InboundMethod(StrEnum):
    """What a partner must show."""

    PASSWORD = "password"  # noqa: S105  (a method's name)
    PUBLIC_KEY = "public_key"
    PASSWORD_OR_PUBLIC_KEY = "password_or_public_key"  # noqa: S105
    PASSWORD_AND_PUBLIC_KEY = "password_and_public_key"  # noqa: S105


class InboundSource(StrEnum):
    """Who checks what a partner shows."""

    NONE = "none"
    ACCOUNT_REPOSITORY = "account_repository"
    LDAP = "ldap"


class OutboundCredentials(StrEnum):
    """What is shown to the target: what the partner showed, or the Rule's own."""

    PASSTHROUGH = "passthrough"
    DEDICATED = "dedicated"


RULE_COMBINATIONS: Final[frozenset[tuple[InboundMethod, InboundSource, OutboundCredentials]]] = frozenset(
    {
        (InboundMethod.PASSWORD, InboundSource.NONE, OutboundCredentials.PASSTHROUGH),
        (InboundMethod.PASSWORD, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.PASSTHROUGH),
        (InboundMethod.PASSWORD, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED),
        (InboundMethod.PASSWORD, InboundSource.LDAP, OutboundCredentials.PASSTHROUGH),
        (InboundMethod.PASSWORD, InboundSource.LDAP, OutboundCredentials.DEDICATED),
        (InboundMethod.PASSWORD_AND_PUBLIC_KEY, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED),
        (InboundMethod.PASSWORD_AND_PUBLIC_KEY, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.PASSTHROUGH),
        (InboundMethod.PASSWORD_OR_PUBLIC_KEY, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED),
        (InboundMethod.PUBLIC_KEY, InboundSource.ACCOUNT_REPOSITORY, OutboundCredentials.DEDICATED),
    }
)
"""The nine combinations that are valid for SFTP; everything else is refused when saved."""
