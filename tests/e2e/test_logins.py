"""What is changed about logins in a running gateway, and OpenSSH as it comes. (Who gets in: test_login_matrix.py.)"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.login_site import RULES, Seen, Site
from tests.e2e.partners import Offer, openssh

pytestmark = pytest.mark.once

ITS_OWN_ORDER = "gssapi-with-mic,hostbased,publickey,keyboard-interactive,password"
ANOTHER = "another-Password-1"


@contextmanager
def changed(site: Site, item: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[None]:
    """The item's fields are changed and pushed, and put back."""

    def put(fields: dict[str, Any]) -> None:
        site.suite.api("PUT", f"/items/{item}", {**site.suite.api("GET", f"/items/{item}"), **fields})
        site.push()

    put(after)
    try:
        yield
    finally:
        put(before)


@pytest.mark.parametrize("number", [number for number in RULES if number != 9])
def test_openssh_as_it_comes_asks_once_for_one_password(site: Site, number: int) -> None:
    """Its own order: keyboard-interactive before password."""
    key = site.keys["mine"] if "_and_" in RULES[number][0] else None
    as_it_comes = partial(openssh, order=ITS_OWN_ORDER)
    right = site.attempt(number, as_it_comes, Offer(site.username, site.password, key))
    assert right.entered
    assert right.logins[-1] == ("keyboard-interactive", "ok")
    wrong = site.attempt(number, as_it_comes, Offer(site.username, "wrong", key))
    assert not wrong.entered
    assert [outcome for _, outcome in wrong.logins if outcome != "partial"] == [wrong.outcome]
    assert len(wrong.target) == (1 if number == 1 else 0)


def test_a_new_password_is_in_force_with_the_push_and_the_old_one_is_not(site: Site) -> None:
    def by(password: str) -> Seen:
        return site.attempt(3, openssh, Offer(site.username, password))

    with changed(site, "accounts/login-partner", {"password": site.password}, {"password": ANOTHER}):
        assert by(site.password).outcome == "auth_denied"
        assert by(ANOTHER).entered
        assert ANOTHER not in str(site.suite.api("GET", "/items/accounts/login-partner"))
        database = b"".join(file.read_bytes() for file in (site.suite.dir / "manager").glob("usp.db*"))
        assert database
        assert ANOTHER.encode() not in database, "it is kept as a hash only"
    assert by(site.password).entered


def test_a_certificate_made_with_ssh_keygen(site: Site, tmp_path: Path) -> None:
    def keygen(*argv: str) -> None:
        subprocess.run(["ssh-keygen", "-q", *argv], check=True, capture_output=True)

    ca, mine = tmp_path / "ca", tmp_path / "id"
    keygen("-t", "ed25519", "-N", "", "-f", str(ca))
    keygen("-t", "ed25519", "-N", "", "-f", str(mine))
    authority = {"name": "login-ca", "public_key": Path(f"{ca}.pub").read_text().strip()}
    site.suite.api("POST", "/items/public-keys", authority)
    with changed(site, "rules/rule-9", {"trusted_ca_keys": []}, {"trusted_ca_keys": ["login-ca"]}):
        for principal, entered in (("somebody-else", False), (site.username, True)):
            keygen("-s", str(ca), "-I", "id", "-n", principal, "-V", "+5m", f"{mine}.pub")
            assert site.attempt(9, openssh, Offer(site.username, key=mine)).entered is entered
    site.suite.api("DELETE", "/items/public-keys/login-ca")
