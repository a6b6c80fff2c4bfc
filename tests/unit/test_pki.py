"""Certificates that verify, name whom they should, and hide their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from usp import pki
from usp.errors import UspError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_ca_and_what_it_issues() -> None:
    ca = pki.new_ca("Test CA", now=NOW)
    issued = pki.issue(ca, uri="usp://server/s1", dns=["localhost"], ips=["127.0.0.1", "::1"], now=NOW, days=10)
    root = x509.load_pem_x509_certificate(ca.cert.encode())
    leaf = x509.load_pem_x509_certificate(issued.cert.encode())
    leaf.verify_directly_issued_by(root)
    assert leaf.not_valid_before_utc == NOW - pki.GRACE
    assert timedelta(hours=14) < pki.GRACE, "longer than any time zone is off"
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


def test_a_certificate_in_the_place_of_another() -> None:
    ca = pki.new_ca("Test CA", now=NOW)
    old = pki.issue(ca, uri="usp://server/s1", dns=["a", "b"], ips=["::1"], now=NOW, days=10)
    found = pki.names(old.cert)
    assert found == pki.Names("usp://server/s1", ("a", "b"), ("::1",))
    new = pki.issue(ca, uri=found.uri, dns=found.dns, ips=found.ips, now=NOW, days=20, key_pem=old.key)
    assert pki.names(new.cert) == found
    before, after = (x509.load_pem_x509_certificate(each.cert.encode()) for each in (old, new))
    assert before.public_key() == after.public_key()
    assert before.serial_number != after.serial_number
    assert new.key == old.key
    for text in (ca.cert, "garbage"):
        with pytest.raises(UspError, match="no certificate with names"):
            pki.names(text)
    rsa_key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for key, words in ((rsa_key.decode(), "not an ECDSA key"), ("garbage", "no private key")):
        with pytest.raises(UspError, match=words):
            pki.issue(ca, dns=["a"], now=NOW, key_pem=key)
