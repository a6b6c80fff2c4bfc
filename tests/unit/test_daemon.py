"""The daemons' common command line, as a process: options, exit codes, signals, what systemd hears."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from usp import __version__, daemon
from usp.settings import ClientSettings

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, sys
import click
from usp import daemon, log, sdnotify
from usp.errors import UspError
from usp.settings import ClientSettings

async def run(settings, stop):
    if settings.name == "fails":
        raise UspError("tunnel.down", "the tunnel is down")
    if settings.name == "buggy":
        raise ZeroDivisionError("oops")
    daemon.on_reload(lambda settings: log.get_logger("x").info("reload", count=settings.keepalive.count))
    sdnotify.notify(READY=1)
    await stop.wait()

main = daemon.group("usp-client", ClientSettings, run)

@main.command()
@click.argument("word")
@daemon.with_settings
def say(settings, word):
    if word == "fail":
        raise UspError("item.not_found", "no such word")
    click.echo(f"{settings.name} says {word}")

main()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    file = tmp_path / "usp-client.hcl"
    file.write_text(
        f'name = "c"\nkey = "{key}"\ntunnel {{\n  host = "h"\n  port = 1\n  host_key = "ssh-ed25519 AAAA"\n}}\n'
    )
    return file


def environ(extra: Mapping[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("USP_", "NOTIFY_"))}
    return {**plain, "PYTHONPATH": str(ROOT), **extra}


def run(*arguments: str | Path, **extra: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, env=environ(extra), capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


async def _nothing(settings: ClientSettings, stop: object) -> None:
    raise AssertionError("not in this test")


def check(*arguments: str | Path, **extra: str) -> tuple[int, str, str]:
    """In this process, which is faster."""
    command = daemon.command("usp-client", ClientSettings, _nothing)
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], env=extra)
    return result.exit_code, result.stdout, result.stderr


def test_check_prints_what_is_in_effect(config: Path) -> None:
    for arguments in (["-config", config], [f"-config={config}"], ["--config", config], [f"--config={config}"]):
        code, out, err = check(*arguments, "--check", USP_KEEPALIVE__COUNT="7")
        assert (code, err) == (0, "")
        assert "  count = 7\n" in out
    assert check("--check", USP_CONFIG=str(config))[0] == 0


def test_a_bad_configuration_ends_with_2_and_places(config: Path) -> None:
    config.write_text(config.read_text() + "kye = 1\nallow = 2\n")
    code, out, err = check("-config", config)
    assert (code, out) == (2, "")
    assert err == f"{config}:8:1: kye: is not known here (did you mean key?)\n"
    assert check("-config", config.with_suffix(".missing"))[0] == 2
    assert check("--nonsense")[0] == 2


def test_version_and_help() -> None:
    assert check("--version") == (0, f"usp-client, version {__version__}\n", "")
    code, out, _ = check("--help")
    assert code == 0
    assert "-config, --config FILE" in out
    assert "/opt/udmg/etc/usp-client.hcl" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "usp-client: the tunnel is down\n"),
        ("buggy", "usp-client: ZeroDivisionError; the log has the details\n"),
    ],
)
def test_a_failure_ends_with_1_and_a_line(config: Path, name: str, message: str) -> None:
    code, out, err = run("-config", config, USP_NAME=name, USP_LOG__FORMAT="json")
    assert (code, err) == (1, message)
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["level"]) == ("daemon.failed", "ERROR")


def test_subcommands(config: Path) -> None:
    assert run("-config", config, "say", "hello") == (0, "c says hello\n", "")
    assert run("-config", config, "say", "fail") == (1, "", "usp-client: no such word\n")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_signals_and_systemd(config: Path, tmp_path: Path, loop: str) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(20)

        def heard(expected: bytes) -> None:
            while listening.recv(100) != expected:
                pass

        command = [sys.executable, "-c", PROGRAM, "-config", str(config), "serve"]
        extra = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000", "USP_LOOP": loop}
        with subprocess.Popen(command, env=environ(extra), stdout=subprocess.PIPE, text=True) as process:
            heard(b"READY=1")
            heard(b"WATCHDOG=1")
            config.write_text(config.read_text() + "keepalive {\n  count = 9\n}\n")
            process.send_signal(signal.SIGHUP)
            heard(b"READY=1")
            config.write_text("nonsense")
            process.send_signal(signal.SIGHUP)
            heard(b"READY=1")
            process.send_signal(signal.SIGTERM)
            heard(b"STOPPING=1")
            assert process.stdout is not None
            words = [line.split()[3] for line in process.stdout.read().splitlines()]
            assert process.wait(20) == 0
    assert words == [
        "daemon.started",
        "reload",
        "daemon.reloaded",
        "daemon.not_reloaded",
        "daemon.stopping",
        "daemon.stopped",
    ]
