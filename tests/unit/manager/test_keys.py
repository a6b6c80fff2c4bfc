"""What is read out of keys and certificates, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from usp import pki
from usp.errors import UspError
from usp.manager.keys import facts, public
from usp.model import CaCertificate, IpFilter, PrivateKey, PublicKey, Record, TlsCertificate
from usp.secret import Secret
from usp.ssh import keys

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CA = pki.new_ca("ca", now=NOW)
LEAF = pki.issue(CA, now=NOW, uri="usp://manager/m", dns=["m.example"], days=30)
OTHER = pki.issue(CA, now=NOW, dns=["other"])
PRIVATE, PUBLIC = keys.generate()


def certificate(key: Any) -> str:
    """Signed by nobody of note, without extensions."""
    name = x509.Name([])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW).sign(key, algorithm)
    return made.public_bytes(serialization.Encoding.PEM).decode()


def pem(key: Any, password: bytes | None = None) -> Secret:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    text: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return Secret(text.decode())


def test_ssh_keys() -> None:
    private = facts(PrivateKey(name="k", private_key=PRIVATE))
    assert private == facts(PublicKey(name="k", public_key=PUBLIC))
    assert (private["type"], private["bits"], private["public_key"]) == ("ssh-ed25519", 256, PUBLIC)
    assert str(private["fingerprint"]).startswith("SHA256:")


def test_certificates() -> None:
    found = facts(TlsCertificate(name="c", certificate=LEAF.cert, private_key=Secret(LEAF.key)))
    assert (found["type"], found["bits"], found["issuer"]) == ("ECDSA secp256r1", 256, "CN=ca")
    assert (found["names"], found["not_after"]) == ("usp://manager/m, m.example", "2026-12-23T00:00:00+00:00")
    assert len(str(found["fingerprint"])) == 32 * 3 - 1
    assert facts(CaCertificate(name="c", certificate=CA.cert + CA.cert))["subject"] == "CN=ca"


@pytest.mark.parametrize(
    ("key", "type", "bits"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA", 2048),
        (ec.generate_private_key(ec.SECP384R1()), "ECDSA secp384r1", 384),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 256),
    ],
)
def test_types(key: Any, type: str, bits: int) -> None:
    found = facts(TlsCertificate(name="c", certificate=certificate(key), private_key=pem(key)))
    assert (found["type"], found["bits"], found["names"]) == (type, bits, "")


def test_other_items_have_none() -> None:
    assert facts(IpFilter(name="f")) == {}


KEY = ed25519.Ed25519PrivateKey.generate()
ODD = ed448.Ed448PrivateKey.generate()


@pytest.mark.parametrize(
    ("item", "field", "msg"),
    [
        (PrivateKey(name="k", private_key=Secret("garbage")), "private_key", "not a private key"),
        (PrivateKey(name="k", private_key=pem(KEY, b"secret phrase")), "private_key", "is encrypted"),
        (PublicKey(name="k", public_key="garbage"), "public_key", "not a public key"),
        (PublicKey(name="k", public_key=PRIVATE.reveal()), "public_key", "one line"),
        (CaCertificate(name="c", certificate="garbage"), "certificate", "not a certificate"),
        (CaCertificate(name="c", certificate=CA.cert + CA.key), "certificate", "a private key in it"),
        (CaCertificate(name="c", certificate=LEAF.cert), "certificate", "may not sign"),
        (CaCertificate(name="c", certificate=certificate(KEY)), "certificate", "may not sign"),
        (CaCertificate(name="c", certificate=CA.cert, private_key=Secret(LEAF.key)), "private_key", "does not belong"),
        (TlsCertificate(name="c", certificate="x", private_key=Secret("x")), "certificate", "not a certificate"),
        (TlsCertificate(name="c", certificate=LEAF.cert, private_key=Secret("x")), "private_key", "not a private"),
        (TlsCertificate(name="c", certificate=LEAF.cert, private_key=Secret(OTHER.key)), "private_key", "belong"),
        (TlsCertificate(name="c", certificate=LEAF.cert, private_key=pem(KEY, b"p")), "private_key", "encrypted"),
        (TlsCertificate(name="c", certificate=certificate(ODD), private_key=pem(ODD)), "certificate", "accepted"),
    ],
)
def test_refused(item: Any, field: str, msg: str) -> None:
    with pytest.raises(UspError) as caught:
        facts(item)
    (problem,) = caught.value.problems
    assert (caught.value.code, problem.loc) == ("key.unusable", (field,))
    assert msg in problem.msg


def test_public_parts() -> None:
    def shown(item: Any) -> tuple[str, str]:
        return public(
            Record(kind=item.kind, id="i", revision=1, created_at=NOW, updated_at=NOW, item=item, facts=facts(item))
        )

    assert shown(PrivateKey(name="k", private_key=PRIVATE)) == ("pub", f"{PUBLIC} k\n")
    assert shown(PublicKey(name="k", public_key=f" {PUBLIC} me\n")) == ("pub", f"{PUBLIC} me\n")
    assert shown(CaCertificate(name="c", certificate=CA.cert, private_key=Secret(CA.key))) == ("pem", CA.cert)
    tls = TlsCertificate(name="c", certificate=LEAF.cert, private_key=Secret(LEAF.key))
    assert shown(tls) == ("pem", LEAF.cert)
    with pytest.raises(AssertionError):
        shown(IpFilter(name="f"))
