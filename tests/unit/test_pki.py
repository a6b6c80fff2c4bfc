"""Certificates that verify, name whom they should, and hide their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

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
