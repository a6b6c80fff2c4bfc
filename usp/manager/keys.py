"""Keys and certificates in items: parsed when they are saved, and read out for people.

(How they are made and decrypted: usp.manager.entry.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from usp.errors import Problem, UspError
from usp.model import CaCertificate, Item, PrivateKey, PublicKey, Record, TlsCertificate
from usp.secret import Secret
from usp.ssh import keys

Facts = Mapping[str, str | int]


def facts(item: Item) -> Facts:
    """What may be shown of an item's key or certificate; UspError key.unusable, located, when it cannot be parsed."""
    match item:
        case PrivateKey():
            return _at("private_key", lambda: keys.facts(keys.parse_private(item.private_key)))
        case PublicKey():
            return _at("public_key", lambda: keys.facts(keys.parse_public(item.public_key)))
        case TlsCertificate():
            found = _at("certificate", lambda: _certificate(item.certificate))
            _at("private_key", lambda: _check_pair(item.certificate, item.private_key))
            return found
        case CaCertificate():
            found = _at("certificate", lambda: _certificate(item.certificate, authority=True))
            if item.private_key is not None:
                key = item.private_key
                _at("private_key", lambda: _check_pair(item.certificate, key))
            return found
        case _:
            return {}


def public(record: Record) -> tuple[str, str]:
    """What others are given of a key or certificate: (a suffix for its file, the text)."""
    match record.item:
        case CaCertificate() | TlsCertificate():
            return "pem", record.item.certificate.strip() + "\n"
        case PublicKey():
            return "pub", record.item.public_key.strip() + "\n"
        case PrivateKey():
            return "pub", f"{record.facts['public_key']} {record.item.name}\n"
    raise AssertionError(record.kind)


def _at(field: str, read: Any) -> Facts:
    try:
        found: Facts = read()
    except UspError as error:
        raise UspError(error.code, error.message, problems=[Problem((field,), error.message)]) from None
    return found


def _certificate(pem: str, *, authority: bool = False) -> Facts:
    chain = _load_chain(pem)
    if authority and not all(map(_may_sign, chain)):
        raise UspError("key.unusable", "this is not a CA's certificate: it may not sign others")
    leaf = chain[0]
    type, bits = _type_of(leaf.public_key())
    return {
        "type": type,
        "bits": bits,
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "names": ", ".join(_names(leaf)),
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "fingerprint": leaf.fingerprint(SHA256()).hex(":"),
    }


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _type_of(key: Any) -> tuple[str, int]:
    match key:
        case rsa.RSAPublicKey():
            return "RSA", key.key_size
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name}", key.key_size
        case ed25519.Ed25519PublicKey():
            return "Ed25519", 256
        case _:
            raise UspError("key.unusable", "its key is of a type that is not accepted; use ECDSA, Ed25519 or RSA")


def _load_chain(pem: str) -> list[x509.Certificate]:
    if "PRIVATE KEY" in pem:
        raise UspError("key.unusable", "there is a private key in it, which does not belong here")
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise UspError("key.unusable", "this is not a certificate in PEM form") from None


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in extension.value]


def _check_pair(certificate: str, private_key: Secret) -> Facts:
    try:
        key = load_pem_private_key(private_key.reveal().encode(), password=None)
    except TypeError:
        raise UspError("key.unusable", "the private key is encrypted; give its passphrase, too") from None
    except ValueError:
        raise UspError("key.unusable", "this is not a private key in PEM form") from None
    if key.public_key() != _load_chain(certificate)[0].public_key():
        raise UspError("key.unusable", "this private key does not belong to the certificate")
    return {}
