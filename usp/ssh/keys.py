"""SSH keys: texts at rest, parsed keys in use.

A private key is OpenSSH or PEM text in a `Secret`, unencrypted; a public key is one OpenSSH line. Everything that is
wrong with one is a `UspError("key.unusable")` whose message never shows the key. DSA and short RSA keys are refused.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from usp.errors import UspError
from usp.secret import Secret

MIN_RSA_BITS: Final = 2048
NEW_RSA_BITS: Final = 3072
DEFAULT_TYPE: Final = "ssh-ed25519"
TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Key types (RFC 8332, 8709, 5656; PROTOCOL.u2f for sk-): everything else is refused."""
_ODD_HEADER: Final = re.compile(
    r"^-----BEGIN (?![A-Z0-9 ]{1,40}-----\s*$)|^---- BEGIN (?!SSH2 [A-Z ]{1,20} ----\s*$)", re.M
)
"""asyncssh makes a regular expression of what stands there."""
_ENCRYPTED: Final = "the private key is encrypted; give its passphrase, too"


def parse_private(text: Secret) -> asyncssh.SSHKey:
    """The private key that `text` holds."""
    _seen(text.reveal(), "private")
    try:
        key = asyncssh.import_private_key(text.reveal())
    except asyncssh.KeyEncryptionError:
        raise UspError("key.unusable", _ENCRYPTED) from None
    except ValueError as error:  # an import error is one, too
        if "assphrase" in str(error):
            raise UspError("key.unusable", _ENCRYPTED) from None
        raise UspError("key.unusable", "this is not a private key in OpenSSH or PEM form") from None
    return accepted(key)


def decrypt(text: Secret, passphrase: Secret) -> Secret:
    """The private key without its passphrase, in OpenSSH form."""
    _seen(text.reveal(), "private")
    try:
        key = asyncssh.import_private_key(text.reveal(), passphrase.reveal())
    except asyncssh.KeyEncryptionError:
        raise UspError("key.unusable", "the passphrase does not open the private key") from None
    except ValueError:
        raise UspError("key.unusable", "this is not a private key in OpenSSH or PEM form") from None
    return Secret(key.export_private_key("openssh").decode("ascii"))


def parse_public(line: str) -> asyncssh.SSHKey:
    """The public key of one OpenSSH line, such as `ssh-ed25519 AAAA... comment`."""
    text = line.strip()
    if "\n" in text or "PRIVATE KEY" in text:
        raise UspError("key.unusable", "a public key is one line, such as 'ssh-ed25519 AAAA... comment'")
    _seen(text, "public")
    try:
        key = asyncssh.import_public_key(text)
    except (asyncssh.KeyImportError, ValueError):
        raise UspError("key.unusable", "this is not a public key in OpenSSH form") from None
    return accepted(key)


def public_data(line: str) -> bytes:
    """A public line in SSH wire format, hardly checked: for the many keys of Accounts, which were parsed when saved."""
    type, data, *_ = [*line.split(), "", ""]
    try:
        found = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        found = b""
    name = type.encode()
    if type not in TYPES or not found.startswith(len(name).to_bytes(4, "big") + name):
        raise UspError("key.unusable", "this is not a public key in OpenSSH form")
    return found


def public_line(key: asyncssh.SSHKey) -> str:
    """The public half as one OpenSSH line, without comment."""
    algorithm, data = key.export_public_key("openssh").decode("ascii").split()[:2]
    return f"{algorithm} {data}"


def fingerprint(key: asyncssh.SSHKey) -> str:
    """`SHA256:...`, as OpenSSH shows it."""
    return key.get_fingerprint()


def same(one: asyncssh.SSHKey, other: asyncssh.SSHKey) -> bool:
    """Whether both have the same public half."""
    return one.public_data == other.public_data


def generate(type: str = DEFAULT_TYPE, *, comment: str = "") -> tuple[Secret, str]:
    """A new key pair: private key (OpenSSH form) and public line."""
    size = {"key_size": NEW_RSA_BITS} if type == "ssh-rsa" else {}
    key = asyncssh.generate_private_key(type, comment=comment or None, **size)
    line = f"{public_line(key)} {comment}".rstrip()
    return Secret(key.export_private_key("openssh").decode("ascii")), line


def facts(key: asyncssh.SSHKey) -> Mapping[str, str | int]:
    """What may be shown of a key to anyone: type, bits, fingerprint and the public line."""
    return {
        "type": key.get_algorithm(),
        "bits": _bits(key),
        "fingerprint": fingerprint(key),
        "public_key": public_line(key),
    }


def pairs(private: Sequence[asyncssh.SSHKey]) -> tuple[asyncssh.SSHKeyPair, ...]:
    """The keys in the form in which asyncssh signs with them."""
    return tuple(asyncssh.load_keypairs(list(private)))


def accepted(key: asyncssh.SSHKey) -> asyncssh.SSHKey:
    """The key, if it is of a type and size that is good enough."""
    type = key.get_algorithm()
    if type not in TYPES:
        raise UspError("key.unusable", f"keys of type {type} are not accepted; use one of {', '.join(TYPES[:5])}")
    if type == "ssh-rsa" and _bits(key) < MIN_RSA_BITS:
        raise UspError("key.unusable", f"this RSA key has {_bits(key)} bits; {MIN_RSA_BITS} are the least")
    return key


def _seen(text: str, half: str) -> None:
    if _ODD_HEADER.search(text):
        raise UspError("key.unusable", f"this is not a {half} key in a form that is known here")


def _bits(key: asyncssh.SSHKey) -> int:
    type = key.get_algorithm()
    if type == "ssh-rsa":
        assert isinstance(key.pyca_key, RSAPrivateKey | RSAPublicKey)
        return key.pyca_key.key_size
    return int(type.rpartition("nistp")[2].partition("@")[0]) if "nistp" in type else 256
