"""The three daemons' settings, and the samples that we ship."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from usp import hcl
from usp.errors import UspError
from usp.model import Model
from usp.secret import Secret
from usp.settings import (
    ClientSettings,
    EncryptionSettings,
    KekSource,
    LoginSettings,
    LogLevel,
    ManagerSettings,
    ServerSettings,
    TunnelSettings,
    load,
    redacted,
)

ETC = Path(__file__).parents[2] / "etc"
DAEMONS: dict[str, type[Model]] = {
    "usp-server": ServerSettings,
    "usp-client": ClientSettings,
    "usp-manager": ManagerSettings,
}
KEK = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize("name", DAEMONS)
def test_the_sample_loads(name: str) -> None:
    settings = load(DAEMONS[name], ETC / f"{name}.hcl", {}, files=False)
    assert getattr(settings, "log").level is LogLevel.INFO  # noqa: B009


@pytest.mark.parametrize("name", DAEMONS)
def test_the_sample_shows_every_argument_with_its_default(name: str, tmp_path: Path) -> None:
    text = (ETC / f"{name}.hcl").read_text()
    shown = re.sub(r"^(\s*)# (\w+ += )", r"\1\2", text, flags=re.MULTILINE)
    assert shown != text
    full = tmp_path / "full.hcl"
    full.write_text(shown)
    plain = load(DAEMONS[name], ETC / f"{name}.hcl", {}, files=False)
    assert load(DAEMONS[name], full, {}, files=False) == plain
    effective = tmp_path / "effective.hcl"
    effective.write_text(redacted(plain))
    assert _arguments(hcl.read(full)) == _arguments(hcl.read(effective))


def _arguments(node: hcl.Node) -> set[str]:
    assert isinstance(node.value, dict)
    found = set()
    for name, member in node.value.items():
        found |= {f"{name}.{inner}" for inner in _arguments(member)} if member.block else {name}
    return found


def test_defaults_are_the_agreed_ones(tmp_path: Path) -> None:
    file = tmp_path / "usp-server.hcl"
    file.write_text('name = "s"\nweb {\n tls {\n cert = "c"\n key = "k"\n ca = "a"\n }\n}\n')
    settings = load(ServerSettings, file, {"USP_TUNNEL__PORT": "7", "USP_SERVER__FAST_PATH": "false"}, files=False)
    assert (settings.workers, settings.web.address, settings.web.port) == (0, "0.0.0.0", 8444)
    assert (settings.server.idle_timeout, settings.server.max_sessions) == (900.0, 5000)
    assert not settings.server.fast_path
    assert (settings.keepalive.interval, settings.keepalive.count) == (5.0, 3)
    assert (settings.metrics.address, settings.metrics.port) == ("127.0.0.1", 0)


def test_settings_travel_as_json() -> None:
    settings = load(ServerSettings, ETC / "usp-server.hcl", {}, files=False)
    assert ServerSettings.model_validate_json(settings.model_dump_json()) == settings


def test_retry_limits_fit_together(tmp_path: Path) -> None:
    sample = ETC / "usp-client.hcl"
    with pytest.raises(UspError, match=r"retry\.maximum: is smaller than initial"):
        load(ClientSettings, sample, {"USP_RETRY__INITIAL": "5"}, files=False)


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "host", "a b:22", ":22", "h:x"])
def test_the_allow_list_wants_ports(entry: str) -> None:
    with pytest.raises(UspError, match=r"allow\.0: is not written as it must be"):
        load(ClientSettings, ETC / "usp-client.hcl", {"USP_ALLOW": f'["{entry}"]'}, files=False)


def test_the_tunnels_host_key_inline_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    inline = TunnelSettings(host="h", port=1, host_key="ssh-ed25519 AAAA x")
    in_file = TunnelSettings(host="h", port=1, host_key=str(file))
    assert inline.host_key_line() == "ssh-ed25519 AAAA x"
    assert list(inline.file_problems()) == []
    assert [problem.loc for problem in in_file.file_problems()] == [("host_key",)]
    file.write_text("ssh-ed25519 BBBB\n")
    assert in_file.host_key_line() == "ssh-ed25519 BBBB"
    assert list(in_file.file_problems()) == []


def test_the_kek_as_value() -> None:
    settings = EncryptionSettings(kek=Secret(KEK))
    assert settings.key() == bytes(range(32))
    assert list(settings.problems()) == list(settings.file_problems()) == []
    for wrong in (KEK[:-8], "not base64!", "é"):
        problems = list(EncryptionSettings(kek=Secret(wrong)).problems())
        assert [problem.loc for problem in problems] == [("kek",)]
        assert "openssl rand" in problems[0].msg
        assert wrong not in problems[0].msg


def test_the_kek_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    settings = EncryptionSettings(kek_source=KekSource.FILE, kek=Secret(str(file)))
    assert list(settings.problems()) == []
    assert "No such file" in next(settings.file_problems()).msg
    file.write_text(KEK + "\n")
    file.chmod(0o644)
    assert "readable by others" in next(settings.file_problems()).msg
    file.chmod(0o600)
    assert list(settings.file_problems()) == []
    assert settings.key() == bytes(range(32))


def test_the_kek_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EncryptionSettings(kek_source=KekSource.ENVIRONMENT, kek=Secret("USP_TEST_KEK"))
    assert list(settings.problems()) == []
    assert "not set" in next(settings.file_problems()).msg
    monkeypatch.setenv("USP_TEST_KEK", KEK + "\n")
    assert list(settings.file_problems()) == []
    assert settings.key() == bytes(range(32))


def test_the_kek_before_it(tmp_path: Path) -> None:
    assert EncryptionSettings(kek=Secret(KEK)).previous_key() is None
    file = tmp_path / "kek.old"
    block = f'rotation {{\n previous_kek_source = "file"\n previous_kek = "{file}"\n}}'
    config = tmp_path / "usp-manager.hcl"
    config.write_text(
        f'encryption {{\n kek = "{KEK}"\n {block}\n}}\nweb {{\n tls {{\n cert = "c"\n key = "k"\n}}\n}}\n'
    )
    loaded = load(ManagerSettings, config, {}, files=False)
    assert 'previous_kek = "***"' in redacted(loaded)
    with pytest.raises(UspError) as caught:
        load(ManagerSettings, config, {})
    assert "encryption.rotation.previous_kek: cannot read" in str(caught.value)
    file.touch(mode=0o600)
    file.write_text(KEK)
    assert loaded.encryption.previous_key() == bytes(range(32))
    environ = {"USP_ENCRYPTION__ROTATION__PREVIOUS_KEK_SOURCE": "value", "USP_ENCRYPTION__ROTATION__PREVIOUS_KEK": "x"}
    with pytest.raises(
        UspError, match=r"USP_ENCRYPTION__ROTATION__PREVIOUS_KEK: .* is not the base64 form of 32 bytes"
    ):
        load(ManagerSettings, config, environ)


def test_waits_make_sense() -> None:
    assert list(LoginSettings().problems()) == []
    assert [problem.loc for problem in LoginSettings(lock_time=60, max_lock_time=30).problems()] == [("max_lock_time",)]


OIDC = """
oidc "corp" {
  issuer        = "https://id.example.com"
  client_id     = "usp"
  client_secret = "hunter2"
  admin_groups  = ["a"]
}
oidc "other" {
  issuer             = "https://other.example.com"
  client_id          = "usp"
  read_only_groups   = ["r"]
  client_secret_file = "/nowhere"
}
"""


def _with_oidc(folder: Path, *changes: tuple[str, str]) -> ManagerSettings:
    text = (ETC / "usp-manager.hcl").read_text() + OIDC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "usp-manager.hcl"
    file.write_text(text)
    return load(ManagerSettings, file, {"USP_ENCRYPTION__KEK": KEK, "USP_ENCRYPTION__KEK_SOURCE": "value"}, files=False)


def test_openid_providers_each_with_its_label(tmp_path: Path) -> None:
    settings = _with_oidc(tmp_path)
    assert list(settings.oidc) == ["corp", "other"]
    assert settings.oidc["other"].read_only_groups == ("r",)
    effective = redacted(settings)
    assert 'oidc "corp" {' in effective
    assert "hunter2" not in effective
    (tmp_path / "again.hcl").write_text(effective.replace('kek = "***"', f'kek = "{KEK}"'))
    again = load(ManagerSettings, tmp_path / "again.hcl", {}, files=False)
    assert again.oidc["corp"].issuer == "https://id.example.com"
    assert [problem.loc for problem in settings.oidc["other"].file_problems()] == [("client_secret_file",)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"https://id.example.com"\n  client_id     = "usp"',
            '"http://id.example.com"\n  client_id = "usp"',
            r"oidc\.corp\.issuer: must begin with https",
        ),
        ("https://other.example.com", "other.example.com", r"oidc\.other\.issuer: is not written as it must be"),
        ('admin_groups  = ["a"]', "", r"oidc\.corp\.admin_groups: or read_only_groups is required"),
        (
            'admin_groups  = ["a"]',
            'admin_groups = ["a"]\n  scopes = ["email"]',
            r"oidc\.corp\.scopes: must have openid",
        ),
        ('client_secret = "hunter2"', 'client_secrets = "x"', r"oidc\.corp\.client_secrets: is not known here"),
        (
            'client_secret_file = "/nowhere"',
            'client_secret_file = "/x"\n  client_secret = "y"',
            "either this or client_secret",
        ),
        ('oidc "other"', 'oidc "a b"', "oidc.*must be 1 to 255 letters"),
        ('oidc "other"', "oidc", r"has no label \(write oidc"),
        ('oidc "other"', 'oidc "corp"', "is here twice"),
    ],
)
def test_what_is_wrong_with_a_provider(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UspError, match=said) as caught:
        _with_oidc(tmp_path, (old, new))
    assert "hunter2" not in str(caught.value)


def test_a_provider_on_this_machine_may_do_without_tls(tmp_path: Path) -> None:
    assert _with_oidc(tmp_path, ("https://other.example.com", "http://127.0.0.1:8080")).oidc["other"]
