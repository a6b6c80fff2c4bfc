"""A small certification authority (ECDSA P-256), for usp-demo, tests and first installations.

The clock is an argument: `now` is when a certificate begins to be valid (five minutes of grace are taken off).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from usp.errors import UspError

GRACE: Final = timedelta(days=1)
"""A new certificate is valid since then: for hosts whose clock is behind, or set to another time zone's hour, too."""

Signer = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
"""Keys that a CA from elsewhere may have; ours are ECDSA P-256."""


class Identity(NamedTuple):
    """A certificate and its private key, PEM texts. The key stays out of `repr`."""

    cert: str
    key: str

    def __repr__(self) -> str:
        return f"Identity({self.cert.splitlines()[1][:16]}...)"


def new_ca(name: str, *, now: datetime, days: int = 3650) -> Identity:
    """A self-signed CA that may issue end certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), _name(name), key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _signed(builder, key, key)


def issue(
    ca: Identity,
    *,
    now: datetime,
    uri: str | None = None,
    dns: Iterable[str] = (),
    ips: Iterable[str] = (),
    days: int = 825,
    key_pem: str = "",
) -> Identity:
    """A certificate for TLS server and client use, named by its SANs: URI (see `usp.tls.identity`), DNS and IP.
    `key_pem`: its private key (ECDSA) if it has one already."""
    ca_cert = x509.load_pem_x509_certificate(ca.cert.encode())
    ca_key = serialization.load_pem_private_key(ca.key.encode(), password=None)
    assert isinstance(ca_key, Signer)
    key = _own_key(key_pem) if key_pem else ec.generate_private_key(ec.SECP256R1())
    return _issue(_names(uri, dns, ips), key, ca_key, ca_cert.subject, now, days)


class Names(NamedTuple):
    """Whom a certificate names."""

    uri: str | None
    dns: tuple[str, ...]
    ips: tuple[str, ...]


def names(cert_pem: str) -> Names:
    """Whom the certificate names, for one that is to take its place; UspError key.unusable."""
    try:
        certificate = x509.load_pem_x509_certificate(cert_pem.encode())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        raise UspError("key.unusable", "this is no certificate with names (SANs) in PEM form") from None
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    ips = tuple(str(ip) for ip in found.get_values_for_type(x509.IPAddress))
    return Names(uris[0] if uris else None, tuple(found.get_values_for_type(x509.DNSName)), ips)


def _own_key(key_pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError):
        raise UspError("key.unusable", "this is no private key in PEM form without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UspError("key.unusable", "this private key is not an ECDSA key")
    return key


def self_signed(
    *,
    now: datetime,
    uri: str | None = None,
    dns: Iterable[str] = (),
    ips: Iterable[str] = (),
    days: int = 825,
) -> Identity:
    """The same, signed by itself: whoever is to trust it is given this very certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _issue(_names(uri, dns, ips), key, key, None, now, days)


def _names(uri: str | None, dns: Iterable[str], ips: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
    names += [x509.DNSName(name) for name in dns]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
    assert names, "a certificate that names nobody"
    return names


def _issue(
    names: list[x509.GeneralName],
    key: ec.EllipticCurvePrivateKey,
    signer: Signer,
    issuer: x509.Name | None,
    now: datetime,
    days: int,
) -> Identity:
    subject = _name(str(names[0].value))
    builder = _builder(subject, issuer or subject, key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _signed(builder, signer, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - GRACE)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # RFC 5280: at most 64 characters


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: x509.CertificateBuilder, signer: Signer, key: ec.EllipticCurvePrivateKey) -> Identity:
    hashed = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.sign(signer, hashed)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode())
