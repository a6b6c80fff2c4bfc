from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.tunnel_pair import CLIENT_KEY, TUNNEL_PUBLIC, gate, until
from usp.client.main import configured, run
from usp.errors import UspError
from usp.metrics import TUNNEL_LINKS
from usp.secret import Secret
from usp.settings import ClientSettings


def settings(directory: Path, port: int = 2200, private: Secret = CLIENT_KEY, **changes: Any) -> ClientSettings:
    key = directory / "client_key"
    key.write_text(private.reveal())
    key.chmod(0o600)
    tunnel = {"host": "127.0.0.1", "port": port, "host_key": TUNNEL_PUBLIC}
    values = {"name": "client-1", "key": str(key), "tunnel": tunnel, "allow": ("127.0.0.0/8:22",), "drain_timeout": 1.0}
    return ClientSettings.model_validate({**values, **changes})


async def test_the_daemon_links_and_drains(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with gate(slots=2) as server:
        running = asyncio.create_task(run(settings(tmp_path, server.port), stop))
        await until(lambda: all(links.get("t1", "client-1") for links in server.workers))
        gauge = TUNNEL_LINKS.labels(f"127.0.0.1:{server.port}")
        await until(lambda: next(iter(gauge.collect())).samples[0].value == 2)
        assert len({links.all()[0].instance for links in server.workers}) == 1
        stop.set()
        await running
        await until(lambda: len(server.reasons()) == 2)


async def test_wrong_keys_and_entries_are_located(tmp_path: Path) -> None:
    tunnel = {"host": "h", "port": 1, "host_key": "ssh-ed25519 AAAA"}
    wrong = settings(tmp_path, private=Secret("no key"), tunnel=tunnel, allow=("10.0.0.1/8:22",))
    with pytest.raises(UspError) as caught:
        configured(wrong, "instance-1")
    assert caught.value.code == "settings.invalid"
    assert [problem.loc for problem in caught.value.problems] == [("key",), ("tunnel", "host_key"), ("allow", 0)]


async def test_settings_become_limits(tmp_path: Path) -> None:
    made = configured(
        settings(tmp_path, keepalive={"interval": 2.0, "count": 4}, retry={"initial": 1.0, "maximum": 3.0}),
        "instance-1",
    )
    timing = made.limits.timing
    assert (timing.keepalive_interval, timing.keepalive_count) == (2.0, 4)
    assert (made.limits.retry_initial, made.limits.retry_maximum) == (1.0, 3.0)
    assert CLIENT_KEY.reveal() not in repr(made.where)
