"""What comes in is completed: keys and certificates are made, encrypted keys opened, passwords hashed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.catalogs import NOW, changed, ids
from usp import pki, tls
from usp.errors import Problem, UspError
from usp.manager.catalog import EMPTY, Catalog, Change, Create, Delete, Update, apply
from usp.manager.entry import Entry
from usp.manager.keys import facts
from usp.model import CaCertificate, TlsCertificate
from usp.passwords import Passwords
from usp.secret import Secret
from usp.ssh import keys

PHRASE = "open sesame"
SSH, LINE = keys.generate()
LEAF = pki.self_signed(dns=["x"], now=NOW)
CA = pki.new_ca("given", now=NOW)
METHODS = {"account_repository": "r", "username": "u"}


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.fixture
async def entry() -> AsyncIterator[Entry]:
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield Entry(passwords, "m1", lambda: NOW)
    passwords.close()


async def fields(entry: Entry, *changes: Change, catalog: Catalog = EMPTY) -> list[Any]:
    return [change.fields for change in await entry.admit(catalog, changes) if not isinstance(change, Delete)]


async def refused(entry: Entry, *changes: Change, catalog: Catalog = EMPTY) -> list[Problem]:
    with pytest.raises(UspError) as caught:
        await entry.admit(catalog, changes)
    assert caught.value.code == "item.invalid"
    return list(caught.value.problems)


async def stored(entry: Entry, *changes: Change, catalog: Catalog = EMPTY) -> Catalog:
    admitted = await entry.admit(catalog, changes)
    new_id = ids(f"r{catalog.revision + 1}")
    return catalog.after(apply(catalog, admitted, now=NOW, new_id=new_id, facts=facts))


async def test_most_fields_are_left_alone(entry: Entry) -> None:
    changes: list[Change] = [
        Create("rules", {"generate": "x", "passphrase": "y"}),
        Create("rules", b"{"),
        Delete("rules", "r"),
    ]
    assert await entry.admit(EMPTY, changes) == changes


# Made on request


@pytest.mark.parametrize(
    ("wanted", "type", "bits"),
    [("ed25519", "ssh-ed25519", 256), ("ecdsa-p256", "ecdsa-sha2-nistp256", 256), ("rsa-3072", "ssh-rsa", 3072)],
)
async def test_ssh_keys(entry: Entry, wanted: str, type: str, bits: int) -> None:
    (made,) = await fields(entry, Create("private-keys", {"name": "k", "generate": wanted, "description": "d"}))
    assert made.keys() == {"name", "description", "private_key"}
    found = keys.facts(keys.parse_private(Secret(made["private_key"])))
    assert (found["type"], found["bits"]) == (type, bits)


async def test_a_ca_and_what_it_signs_in_one_set_in_any_order(entry: Entry) -> None:
    wish = {"ca": "root", "uri": "usp://server/s", "dns": ["*.a.example"], "ips": ["::1"], "days": 7}
    catalog = await stored(
        entry,
        Create("tls-certificates", {"name": "leaf", "generate": wish}),
        Create("ca-certificates", {"name": "root", "generate": {"days": 100}}),
    )
    ca, leaf = catalog.get("ca-certificates", "root"), catalog.get("tls-certificates", "leaf")
    assert (ca.facts["subject"], leaf.facts["issuer"]) == ("CN=root", "CN=root")
    assert leaf.facts["names"] == "usp://server/s, *.a.example, ::1"
    assert isinstance(ca.item, CaCertificate)
    assert isinstance(leaf.item, TlsCertificate)
    root = x509.load_pem_x509_certificate(ca.item.certificate.encode())
    certificate = x509.load_pem_x509_certificate(leaf.item.certificate.encode())
    certificate.verify_directly_issued_by(root)
    assert root.not_valid_after_utc == NOW + timedelta(days=100)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)
    # the stored CA signs, too, by name or id; and who is named by nothing is this manager
    for key in ("root", ca.id):
        again = await stored(
            entry, Create("tls-certificates", {"name": "me", "generate": {"ca": key}}), catalog=catalog
        )
        assert again.get("tls-certificates", "me").facts["names"] == tls.manager_uri("m1")


async def test_a_certificate_signed_by_itself(entry: Entry) -> None:
    catalog = await stored(entry, Create("tls-certificates", {"name": "own", "generate": {}}))
    found = catalog.get("tls-certificates", "own").facts
    assert found["subject"] == found["issuer"]


async def test_an_update_makes_a_new_one(entry: Entry) -> None:
    create = Create("tls-certificates", {"name": "own", "generate": {}})
    catalog = await stored(entry, create)
    shown: dict[str, Any] = {"name": "own", "certificate": "", "private_key": None, "generate": {}}
    after = await stored(entry, Update("tls-certificates", "own", shown), catalog=catalog)
    one, two = (each.get("tls-certificates", "own").facts["fingerprint"] for each in (catalog, after))
    assert one != two


@pytest.mark.parametrize(
    ("kind", "wish", "loc", "msg"),
    [
        ("private-keys", {"generate": "dsa"}, ("generate",), "must be one of ed25519"),
        ("private-keys", {"generate": ["ed25519"]}, ("generate",), "must be one of"),
        ("private-keys", {"generate": "ed25519", "private_key": "x"}, ("generate",), "goes without private_key"),
        ("ca-certificates", {"generate": True}, ("generate",), "must be an object; all of it is optional: days"),
        ("ca-certificates", {"generate": {"days": 0}}, ("generate", "days"), "must be 1 or more"),
        ("ca-certificates", {"generate": {}, "certificate": "x"}, ("generate",), "goes without certificate"),
        ("tls-certificates", {"generate": {"dns": deep(300)}}, ("generate",), "is nested too deeply"),
        ("tls-certificates", {"generate": {"x": 1}}, ("generate", "x"), "there is no such field"),
        ("tls-certificates", {"generate": {"dns": ["a b"]}}, ("generate", "dns", 0), "is not written as it must be"),
        ("tls-certificates", {"generate": {"ips": ["a"]}}, ("generate", "ips", 0), "IPv4 or IPv6"),
        ("tls-certificates", {"generate": {"ca": "none"}}, ("generate", "ca"), "there is no CA Certificate 'none'"),
        ("tls-certificates", {"generate": {"ca": "ca"}}, ("generate", "ca"), "is not here: it cannot sign"),
    ],
)
async def test_what_cannot_be_made(entry: Entry, kind: str, wish: dict[str, Any], loc: Any, msg: str) -> None:
    catalog = changed(EMPTY, Create("ca-certificates", {"name": "ca", "certificate": CA.cert}))
    (problem,) = await refused(entry, Create(kind, {"name": "n", **wish}, loc=("at", 3)), catalog=catalog)
    assert problem.loc == ("at", 3, *loc)
    assert msg in problem.msg


async def test_a_given_ca_signs_when_its_key_is_given(entry: Entry) -> None:
    given = {"name": "ca", "certificate": CA.cert, "private_key": CA.key}
    catalog = await stored(entry, Create("ca-certificates", given))
    catalog = await stored(entry, Create("tls-certificates", {"name": "t", "generate": {"ca": "ca"}}), catalog=catalog)
    assert catalog.get("tls-certificates", "t").facts["issuer"] == "CN=given"


# Encrypted keys


def encrypted(format: str) -> str:
    key = keys.parse_private(SSH)
    return key.export_private_key(format, passphrase=PHRASE, rounds=50).decode()


def encrypted_pem() -> str:
    key = serialization.load_pem_private_key(LEAF.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(PHRASE.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


@pytest.mark.parametrize("format", ["openssh", "pkcs8-pem"])
async def test_encrypted_ssh_keys(entry: Entry, format: str) -> None:
    given = {"name": "k", "private_key": encrypted(format), "passphrase": PHRASE}
    catalog = await stored(entry, Create("private-keys", given))
    assert catalog.get("private-keys", "k").facts["public_key"] == LINE


async def test_encrypted_pem_keys(entry: Entry) -> None:
    for key in (encrypted_pem(), LEAF.key):
        given = {"name": "t", "certificate": LEAF.cert, "private_key": key, "passphrase": PHRASE}
        (found,) = await fields(entry, Create("tls-certificates", given))
        assert found == {"name": "t", "certificate": LEAF.cert, "private_key": LEAF.key}


async def test_no_passphrase(entry: Entry) -> None:
    given = {"name": "k", "private_key": SSH.reveal(), "passphrase": None}
    assert await fields(entry, Create("private-keys", given)) == [{"name": "k", "private_key": SSH.reveal()}]


@pytest.mark.parametrize(
    ("kind", "given", "msg"),
    [
        ("private-keys", {"passphrase": 7, "private_key": "x"}, "must be a text"),
        ("private-keys", {"passphrase": "x"}, "goes with the private_key that it opens"),
        ("private-keys", {"passphrase": "x", "private_key": "***"}, "goes with the private_key that it opens"),
        ("private-keys", {"passphrase": "x", "private_key": encrypted("openssh")}, "does not open the private key"),
        ("private-keys", {"passphrase": "x", "private_key": "x"}, "this is not a private key"),
        ("tls-certificates", {"passphrase": "x", "private_key": encrypted_pem()}, "does not open the private key"),
        ("tls-certificates", {"passphrase": "x", "private_key": "x"}, "does not open the private key"),
    ],
)
async def test_passphrases_that_do_not_fit(entry: Entry, kind: str, given: dict[str, Any], msg: str) -> None:
    (problem,) = await refused(entry, Create(kind, given))
    assert (problem.loc, msg in problem.msg) == (("passphrase",), True)


async def test_what_is_sealed_is_not_taken_for_the_secret(entry: Entry) -> None:
    (problem,) = await refused(entry, Create("rules", {"name": "r", "password": "usp-sealed-1:x:y"}))
    assert (problem.loc, problem.msg.startswith("is sealed")) == (("password",), True)


# Passwords


async def test_passwords_of_accounts(entry: Entry) -> None:
    repository = Create("account-repositories", {"name": "r"})
    account = {"name": "a", **METHODS, "password": "hush-hush"}
    catalog = await stored(entry, repository, Create("accounts", account))
    (kept,) = await fields(entry, Update("accounts", "a", account), catalog=catalog)
    (same,) = await fields(entry, Update("accounts", "a", {**account, "password": kept["password"]}), catalog=catalog)
    (other,) = await fields(entry, Update("accounts", "a", {**account, "password": "other"}), catalog=catalog)
    assert kept == same
    assert kept["password"].startswith("$argon2id$")
    assert other["password"] not in ("other", kept["password"])
    for untouched in ("", "***", None, 7):
        (found,) = await fields(entry, Update("accounts", "a", {**account, "password": untouched}), catalog=catalog)
        assert found["password"] == untouched
    (new,) = await fields(entry, Update("accounts", "b", account), catalog=catalog)  # the catalog says it is not there
    assert new["password"].startswith("$argon2id$")


@pytest.mark.parametrize("password", ["x" * 1025, "$argon2d$v=19$m=1,t=1,p=1$x$y"])
async def test_passwords_that_are_not_kept(entry: Entry, password: str) -> None:
    (problem,) = await refused(entry, Create("accounts", {"name": "a", **METHODS, "password": password}))
    assert problem.loc == ("password",)


async def test_all_problems_at_once(entry: Entry) -> None:
    bad = [Create("private-keys", {"name": "k", "generate": n}, loc=(n,)) for n in "ab"]
    assert [problem.loc for problem in await refused(entry, *bad)] == [("a", "generate"), ("b", "generate")]
