"""SSH algorithms: the names known here, the named profiles of them, and how a node chooses.

`modern` is the default: hybrid post-quantum and curve25519 key exchange, AEAD ciphers. `compatible` adds what decent
clients of the last ten years speak. `fips` is what NIST approves (SP 800-140C, SP 800-131A; no curve25519, no
chacha20). `legacy` adds SHA-1 and CBC for partners who have nothing else: never by itself, always explicit per node.
RFC 9142 says what is to be thought of key exchanges, RFC 8332 of RSA signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Profile(StrEnum):
    """A named choice of SSH algorithms: `modern` for all who can, `legacy` for partners who cannot do better."""

    MODERN = "modern"
    COMPATIBLE = "compatible"
    FIPS = "fips"
    LEGACY = "legacy"


class Offer(NamedTuple):
    """Names in order of preference. `signature_types`: of logins with keys."""

    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    kex: tuple[str, ...]
    host_key_types: tuple[str, ...]
    signature_types: tuple[str, ...]


_GCM: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_CTR: Final = ("aes128-ctr", "aes192-ctr", "aes256-ctr")
_ETM: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
_MACS: Final = ("hmac-sha2-256", "hmac-sha2-512")
_ECDH: Final = ("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521")
_DH: Final = (
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
_ECDSA: Final = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")
_SIGNATURES: Final = (
    "ssh-ed25519",
    *_ECDSA,
    *_RSA,
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

MODERN: Final = Offer(
    # AES-GCM first: it is by far the cheapest on CPUs with AES instructions
    ciphers=(*_GCM, "chacha20-poly1305@openssh.com"),
    macs=_ETM,  # an AEAD needs none
    kex=(
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    ),
    host_key_types=_SIGNATURES,
    signature_types=_SIGNATURES,
)
COMPATIBLE: Final = Offer(
    ciphers=(*MODERN.ciphers, *_CTR),
    macs=(*_ETM, *_MACS),
    kex=(*MODERN.kex, *_ECDH, *_DH),
    host_key_types=_SIGNATURES,
    signature_types=_SIGNATURES,
)
FIPS: Final = Offer(
    ciphers=(*_GCM, *_CTR),
    macs=(*_ETM, *_MACS),
    kex=("mlkem768nistp256-sha256", "mlkem1024nistp384-sha384", *_ECDH, *_DH),
    host_key_types=(*_ECDSA, *_RSA),
    signature_types=(*_ECDSA, *_RSA),
)
LEGACY: Final = Offer(
    ciphers=(*COMPATIBLE.ciphers, "aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"),
    macs=(*COMPATIBLE.macs, "hmac-sha1-etm@openssh.com", "hmac-sha1"),
    kex=(*COMPATIBLE.kex, "diffie-hellman-group-exchange-sha1", "diffie-hellman-group14-sha1"),
    host_key_types=(*_SIGNATURES, "ssh-rsa"),
    signature_types=(*_SIGNATURES, "ssh-rsa"),
)
OFFERS: Final[Mapping[Profile, Offer]] = MappingProxyType(
    {Profile.MODERN: MODERN, Profile.COMPATIBLE: COMPATIBLE, Profile.FIPS: FIPS, Profile.LEGACY: LEGACY}
)

_MORE: Final = Offer(
    ciphers=(),
    macs=("umac-128-etm@openssh.com", "umac-128@openssh.com"),
    kex=("diffie-hellman-group15-sha512", "diffie-hellman-group17-sha512", "diffie-hellman-group1-sha1"),
    host_key_types=(),
    signature_types=(),
)
"""Known, and in no profile."""

KNOWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        category: tuple(dict.fromkeys(name for offer in (*OFFERS.values(), _MORE) for name in getattr(offer, category)))
        for category in Offer._fields
    }
)
"""category -> every name that may be configured. Which of them a machine's libraries have is found out there."""


def only_in_legacy(name: str) -> bool:
    """SHA-1, CBC, and moduli of 1024 bits."""
    return "sha1" in name or name == "ssh-rsa" or name.endswith("-cbc")


def _known(category: str) -> Callable[[str], str]:
    names = KNOWN[category]

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"is no SSH algorithm that is known here; these are: {', '.join(names)}")
        return name

    return check


def _enum(category: str) -> Any:
    return Field(json_schema_extra={"enum": list(KNOWN[category])})


Cipher = Annotated[str, _enum("ciphers"), AfterValidator(_known("ciphers"))]
Mac = Annotated[str, _enum("macs"), AfterValidator(_known("macs"))]
Kex = Annotated[str, _enum("kex"), AfterValidator(_known("kex"))]
HostKeyType = Annotated[str, _enum("host_key_types"), AfterValidator(_known("host_key_types"))]
SignatureType = Annotated[str, _enum("signature_types"), AfterValidator(_known("signature_types"))]


class Algorithms(BaseModel):
    """SSH algorithms: a named profile, and lists in order of preference that take the place of the profile's."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    profile: Profile = Field(default=Profile.MODERN, description="What is offered where nothing else is chosen")
    ciphers: tuple[Cipher, ...] = Field(default=(), description="Instead of the profile's")
    macs: tuple[Mac, ...] = Field(default=(), description="Instead of the profile's")
    kex: tuple[Kex, ...] = Field(default=(), description="Key exchange, instead of the profile's")
    host_key_types: tuple[HostKeyType, ...] = Field(default=(), description="Host keys, instead of the profile's")
    signature_types: tuple[SignatureType, ...] = Field(
        default=(), description="Signatures of logins with keys, instead of the profile's"
    )

    @model_validator(mode="after")
    def _nothing_old_by_accident(self) -> Self:
        old = [name for category in self._given() for name in category if only_in_legacy(name)]
        if old and self.profile is not Profile.LEGACY:
            raise ValueError(f"{', '.join(dict.fromkeys(old))}: SHA-1 and CBC go with profile 'legacy' only")
        return self

    def offer(self) -> Offer:
        """What is offered and accepted."""
        return Offer(*(mine or theirs for mine, theirs in zip(self._given(), OFFERS[self.profile], strict=True)))

    def _given(self) -> Offer:
        return Offer(self.ciphers, self.macs, self.kex, self.host_key_types, self.signature_types)
