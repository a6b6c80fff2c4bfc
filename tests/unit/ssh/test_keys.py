from __future__ import annotations

import asyncssh
import pytest

from usp.errors import UspError
from usp.secret import Secret
from usp.ssh import keys

ENCRYPTED = """\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCj16BvEw
3rh9sXKjqrhnsEAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIMfdxPQk4ljIdbq0
E/Ct8J0qUEmuVVxiZLf1I3G0ecAAAAAAkB0+zraqL7YfuGvM/ZicLpKCVEWK9essAAcV6g
tpjtzNLBmnmtlMZjZktVBI13GaJY9KDkNRN5qTiiWMCIOg7t9/LdiTi3IMoafA2sHNBkSX
Ign4JhfcOOvAd4ntic7spPT1zDySrIwcezIBWthoAjgk7PZvL6H9H8EYWp5FqPvz68JsFm
IAkOs/sffyJvg7ng==
-----END OPENSSH PRIVATE KEY-----
"""
"""By `ssh-keygen -N secret`: asyncssh cannot write one without bcrypt."""


@pytest.mark.parametrize("type", ["ssh-ed25519", "ecdsa-sha2-nistp384"])
def test_a_generated_pair_reads_back(type: str) -> None:
    private, public = keys.generate(type)
    key = keys.parse_private(private)
    assert keys.public_line(key) == public
    assert keys.same(key, keys.parse_public(f"  {public} somebody@host \n"))
    assert keys.facts(key) == keys.facts(keys.parse_public(public))
    assert keys.facts(key)["type"] == type
    assert keys.facts(key)["bits"] == (256 if type == "ssh-ed25519" else 384)
    assert str(keys.facts(key)["fingerprint"]).startswith("SHA256:")
    assert private.reveal() not in str(keys.facts(key))
    (pair,) = keys.pairs([key])
    assert pair.public_data == key.public_data


def test_a_comment_goes_with_the_public_line() -> None:
    _, public = keys.generate(comment="target host key")
    assert public.endswith(" target host key")
    assert keys.public_line(keys.parse_public(public)) == public.removesuffix(" target host key")


def refused(secret: Secret | str) -> str:
    with pytest.raises(UspError) as caught:
        keys.parse_private(secret) if isinstance(secret, Secret) else keys.parse_public(secret)
    assert caught.value.code == "key.unusable"
    assert caught.value.__cause__ is None
    return caught.value.message


def test_unusable_private_keys() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    assert "encrypted" in refused(Secret(key.export_private_key("pkcs8-pem", passphrase="x").decode()))
    assert "encrypted" in refused(Secret(ENCRYPTED))
    assert "not a private key" in refused(Secret("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"))
    assert "not a private key" in refused(Secret(key.export_public_key().decode()))
    assert "not a private key" in refused(Secret("hunter2"))
    assert "hunter2" not in refused(Secret("hunter2"))


def test_unusable_public_keys() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    assert "one line" in refused(key.export_private_key().decode())
    assert "not a public key" in refused("ssh-ed25519 AAAA")
    assert "not a public key" in refused("")


def test_weak_keys_are_refused() -> None:
    weak = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    assert "1024 bits" in refused(weak.export_public_key().decode())
    fine = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    assert keys.facts(keys.parse_private(Secret(fine.export_private_key().decode())))["bits"] == 2048
    dsa = asyncssh.generate_private_key("ssh-dss")
    assert "ssh-dss are not accepted" in refused(dsa.export_public_key().decode())


def test_new_rsa_keys_have_3072_bits() -> None:
    private, _ = keys.generate("ssh-rsa")
    assert keys.facts(keys.parse_private(private))["bits"] == 3072


@pytest.mark.parametrize("type", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_the_wire_form_of_a_public_line(type: str) -> None:
    _, line = keys.generate(type, comment="somebody's key")
    assert keys.public_data(f" {line} \n") == keys.parse_public(line).public_data


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 garbage", "ssh-dss AAAAB3NzaC1kc3M=", "\u00e9 \u00e9"]
)
def test_what_is_no_public_line(line: str) -> None:
    with pytest.raises(UspError) as caught:
        keys.public_data(line)
    assert caught.value.code == "key.unusable"


def test_a_line_of_another_type_than_its_key() -> None:
    _, line = keys.generate("ssh-ed25519")
    with pytest.raises(UspError):
        keys.public_data(line.replace("ssh-ed25519", "ssh-rsa"))


@pytest.mark.parametrize("half", ["PRIVATE", "PUBLIC"])
@pytest.mark.parametrize("header", ["(", "(a+)+$", "x", "A" * 50, "RSA PRIVATE KEY-----)-BEGIN RSA"])
def test_a_header_is_no_regular_expression(half: str, header: str) -> None:
    """asyncssh makes one of it."""
    text = f"-----BEGIN {header} {half} KEY----- AAAA -----END {header} {half} KEY-----"
    read = keys.parse_public if half == "PUBLIC" else lambda text: keys.parse_private(Secret(text))
    with pytest.raises(UspError) as caught:
        read(text)
    assert caught.value.code == "key.unusable"
