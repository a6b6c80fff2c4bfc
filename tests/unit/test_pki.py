"""Certificates that verify, name whom they should, and hide their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from usp import pki

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_ca_and_what_it_issues() -> None:
    ca = pki.new_ca("Test CA", now=NOW)
    issued = pki.issue(ca, uri="usp://server/s1", dns=["localhost"], ips=["127.0.0.1", "::1"], now=NOW, days=10)
    root = x509.load_pem_x509_certificate(ca.cert.encode())
    leaf = x509.load_pem_x509_certificate(issued.cert.encode())
    leaf.verify_directly_issued_by(root)
    assert leaf.not_valid_before_utc == NOW - pki.GRACE
    assert leaf.not_valid_after_utc == NOW + timedelta(days=10)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["usp://server/s1", "localhost", "127.0.0.1", "::1"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_a_certificate_without_uri_and_with_a_long_name() -> None:
    ca = pki.new_ca("Test CA", now=NOW)
    long_name = ".".join(["a" * 50] * 3)
    leaf = x509.load_pem_x509_certificate(pki.issue(ca, dns=[long_name], now=NOW).cert.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [long_name]


def test_the_key_stays_out_of_repr() -> None:
    ca = pki.new_ca("Test CA", now=NOW)
    assert "PRIVATE" not in repr(ca)
    cert, key = ca
    assert cert.startswith("-----BEGIN CERTIFICATE-----")
    assert key.startswith("-----BEGIN PRIVATE KEY-----")


def test_self_signed_and_signed_by_others_keys() -> None:
    alone = x509.load_pem_x509_certificate(pki.self_signed(uri="usp://manager/m", now=NOW, days=3).cert.encode())
    alone.verify_directly_issued_by(alone)
    assert alone.not_valid_after_utc == NOW + timedelta(days=3)
    for key in (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)):
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "from elsewhere")])
        algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        root = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW).sign(key, algorithm)
        issued = pki.issue(pki.Identity(root.public_bytes(Encoding.PEM).decode(), text), dns=["x"], now=NOW)
        x509.load_pem_x509_certificate(issued.cert.encode()).verify_directly_issued_by(root)
