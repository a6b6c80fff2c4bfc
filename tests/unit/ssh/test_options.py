"""What the options say, and that nothing of the user's home, agent or SSH files can get into them."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from usp.algorithms import Algorithms, Profile
from usp.errors import UspError
from usp.secret import Secret
from usp.ssh import keys, options
from usp.ssh.options import Timing, one_use

PRIVATE, PUBLIC = keys.generate()
TIMING = Timing(login_timeout=7.0, keepalive_interval=5.0, keepalive_count=3)


def rsa() -> tuple[Secret, str]:
    return keys.generate("ssh-rsa")


def server() -> asyncssh.SSHServerConnectionOptions:
    return options.partner_facing([PRIVATE], Algorithms(), TIMING)


def client() -> asyncssh.SSHClientConnectionOptions:
    return options.target_facing([PUBLIC], Algorithms(), TIMING)


ALL = [
    server,
    client,
    lambda: options.tunnel_server_end(PRIVATE, [PUBLIC], TIMING),
    lambda: options.tunnel_client_end(PRIVATE, TIMING),
]


@pytest.fixture
def hostile_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text(
        "Host *\n  User mallory\n  Port 666\n  HostKeyAlgorithms ssh-rsa\n  Ciphers aes128-cbc\n"
    )
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(ssh / "id_ed25519")
    (ssh / "known_hosts").write_text(f"* {keys.generate()[1]}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    return tmp_path


def test_the_first_host_key_of_a_type_is_used_and_all_of_permitted_types_are_announced() -> None:
    other, waiting = keys.generate("ecdsa-sha2-nistp256")[0], keys.generate()[0]
    made = options.partner_facing([PRIVATE, other, waiting], Algorithms(host_key_types=("ssh-ed25519",)), TIMING)
    first, _, last = (keys.parse_private(text).public_data for text in (PRIVATE, other, waiting))
    assert [(name, pair.public_data) for name, pair in made.server_host_keys.items()] == [(b"ssh-ed25519", first)]
    assert list(made.all_server_host_keys) == [first, last]
    assert not options.tunnel_client_end(PRIVATE, TIMING).all_server_host_keys


@pytest.mark.parametrize("make", ALL)
@pytest.mark.usefixtures("hostile_home")
def test_nothing_comes_from_the_users_files(make: object) -> None:
    made = make()  # type: ignore[operator]
    assert not made.config.loaded
    assert made.version == b"USP"
    assert made.compression_algs == [b"none"]
    assert not made.host_based_auth
    assert (made.gss_host, made.gss_kex, made.gss_auth) == (None, False, False)
    assert made.x509_trusted_certs is None
    assert made.x509_trusted_cert_paths == []
    assert made.encryption_algs[0] == b"aes128-gcm@openssh.com"
    assert made.login_timeout == 7.0
    assert made.keepalive_interval * (made.keepalive_count_max + 1) == 15.0
    offered = [*made.kex_algs, *made.mac_algs, *made.signature_algs, *made.encryption_algs]
    assert not any(b"sha1" in name or name in (b"ssh-rsa", b"ssh-dss") or b"cbc" in name for name in offered)
    if isinstance(made, asyncssh.SSHClientConnectionOptions):
        assert (made.agent_path, made.pkcs11_provider, made.agent_identities, made.agent_forward_path) == (None,) * 4
        assert (made.env, made.send_env, made.x11_forwarding, made.command) == (None, None, False, None)
        assert made.username == "usp"
        assert made.known_hosts == ((keys.parse_public(PUBLIC),), (), ())
        assert made.port == 22
    else:
        assert (made.allow_scp, made.allow_pty, made.agent_forwarding, made.x11_forwarding) == (False,) * 4
        assert made.sftp_factory is None
        assert made.process_factory is None
        assert made.session_factory is None


def test_a_user_without_a_name_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under an arbitrary number."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert client().username == "usp"


def test_logins_of_the_four_legs() -> None:
    assert client().client_keys is None
    assert client().password is None
    ours = options.tunnel_server_end(PRIVATE, [PUBLIC], TIMING)
    assert ours.client_keys is not None
    assert len(ours.client_keys) == 1
    assert ours.preferred_auth == ["publickey"]
    theirs = options.tunnel_client_end(PRIVATE, TIMING)
    assert (theirs.public_key_auth, theirs.password_auth, theirs.kbdint_auth) == (True, False, False)


@pytest.mark.usefixtures("hostile_home")
def test_for_reading_a_key_there_is_nothing_to_log_in_with() -> None:
    made = options.scanning(["rsa-sha2-512"], Algorithms(), TIMING)
    assert not made.config.loaded
    assert made.server_host_key_algs == ["rsa-sha2-512"]
    assert (made.known_hosts, made.client_keys, made.password, made.agent_path) == (None, None, None, None)
    assert made.preferred_auth == []


def test_rsa_keys_sign_with_sha2_only() -> None:
    private, public = rsa()
    made = options.partner_facing([private, PRIVATE], Algorithms(), TIMING)
    assert set(made.server_host_keys) == {b"rsa-sha2-256", b"rsa-sha2-512", b"ssh-ed25519"}
    pinned = options.target_facing([public], Algorithms(), TIMING)
    assert pinned.server_host_key_algs == ["rsa-sha2-512", "rsa-sha2-256"]


def test_chosen_algorithms_are_what_is_offered() -> None:
    chosen = Algorithms(
        ciphers=("aes256-ctr",),
        macs=("hmac-sha2-512",),
        kex=("ecdh-sha2-nistp256",),
        host_key_types=("ssh-ed25519",),
    )
    made = options.partner_facing([PRIVATE, rsa()[0]], chosen, TIMING)
    assert (made.encryption_algs, made.mac_algs) == ([b"aes256-ctr"], [b"hmac-sha2-512"])
    assert made.kex_algs == [b"ecdh-sha2-nistp256"]
    assert list(made.server_host_keys) == [b"ssh-ed25519"]
    assert options.target_facing([PUBLIC], chosen, TIMING).server_host_key_algs == ["ssh-ed25519"]


@pytest.mark.parametrize(
    "chosen",
    [
        Algorithms(profile=Profile.FIPS),
        Algorithms(host_key_types=("rsa-sha2-512",)),
    ],
)
def test_algorithms_that_do_not_fit_the_keys_are_refused(chosen: Algorithms) -> None:
    for make in (
        lambda: options.partner_facing([PRIVATE], chosen, TIMING),
        lambda: options.target_facing([PUBLIC], chosen, TIMING),
    ):
        with pytest.raises(UspError) as caught:
            make()
        assert caught.value.code == "key.algorithms"


def test_a_copy_for_one_use_shares_no_state() -> None:
    shared = server()
    one, two = one_use(shared), one_use(shared)
    one.server_host_keys[b"ssh-ed25519"].set_sig_algorithm(b"changed")
    assert two.server_host_keys[b"ssh-ed25519"].sig_algorithm == b"ssh-ed25519"
    ours = options.tunnel_server_end(PRIVATE, [PUBLIC], TIMING)
    copied = one_use(ours)
    assert copied.client_keys is not None
    assert ours.client_keys is not None
    assert copied.client_keys[0] is not ours.client_keys[0]
    assert one_use(client()).client_keys is None


def test_profiles() -> None:
    private, public = rsa()
    legacy = options.partner_facing([private], Algorithms(profile=Profile.LEGACY), TIMING)
    assert set(legacy.server_host_keys) == {b"rsa-sha2-256", b"rsa-sha2-512", b"ssh-rsa"}
    assert b"ssh-rsa" in legacy.signature_algs
    assert b"hmac-sha1" in legacy.mac_algs
    fips = options.target_facing([public, PUBLIC], Algorithms(profile=Profile.FIPS), TIMING)
    assert fips.server_host_key_algs == ["rsa-sha2-512", "rsa-sha2-256"]
    assert not any(b"25519" in name or b"chacha" in name for name in (*fips.kex_algs, *fips.encryption_algs))
    mixed = Algorithms(profile=Profile.COMPATIBLE, ciphers=("aes256-ctr",))
    made = options.partner_facing([PRIVATE], mixed, TIMING)
    assert made.encryption_algs == [b"aes256-ctr"]
    assert b"ecdh-sha2-nistp256" in made.kex_algs
