"""Figures under load: thousands of idle sessions, good logins among ten times as many bad ones, and a push in the
middle of a hundred transfers that takes their listener away."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import asyncssh
import pytest

from tests.bench.gateways.process import descendants, pss_kib
from tests.e2e.storm import SIMPLE, Storm
from tests.e2e.suite import ENV, ROOT, Suite, running, wait_until
from tests.faults.mixed import content
from tests.faults.places import SERVER, Outcomes
from tests.ports import free_port

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.alone]

IDLE = 2000
AT_ONCE = 20
TRANSFERS = 100


@contextmanager
def small_target(folder: Path) -> Iterator[tuple[str, ...]]:
    """One process, however many sessions: usp-demo's own target, and the flags with which a demo takes it."""
    port, files = free_port(), folder / "files"
    files.mkdir()
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
    settings = {
        "port": port, "host_key": str(folder / "host"), "files": str(files), "username": "u", "password": "unused",
        "authorized_key": (folder / "user.pub").read_text(),
    }  # fmt: skip
    (folder / "target.json").write_text(json.dumps(settings))
    popen = subprocess.Popen([sys.executable, "-m", "usp.demo.target", str(folder / "target.json")], env=ENV, cwd=ROOT)
    try:
        yield (
            "--target", f"127.0.0.1:{port}", "--target-user", "u", "--target-key", str(folder / "user"),
            "--target-host-key", str(folder / "host.pub"),
        )  # fmt: skip
    finally:
        popen.terminate()
        popen.wait(10)


@asynccontextmanager
async def logged_in(suite: Suite, source: str = "127.0.0.1") -> AsyncIterator[asyncssh.SFTPClient]:
    login = {name: suite.ready["partner"][name] for name in ("username", "password")}
    async with (
        asyncssh.connect(
            "127.0.0.1", suite.port(), local_addr=(source, 0), connect_timeout=60, login_timeout=60, **login, **SIMPLE
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        yield sftp


def test_idle_sessions(tmp_path: Path) -> None:
    with small_target(tmp_path) as flags, running("--workers", "2", "--direct", *flags) as suite:
        asyncio.run(_hold(suite))


async def _hold(suite: Suite) -> None:
    """All of them, and a list of them, and then none."""
    server = suite.ready["servers"][0]["pid"]
    over, up, gate = asyncio.Event(), 0, asyncio.Semaphore(AT_ONCE)

    async def hold() -> None:
        nonlocal up
        await gate.acquire()
        async with logged_in(suite):
            up += 1
            gate.release()
            await over.wait()

    async with asyncio.TaskGroup() as warm:
        for _ in range(40):
            warm.create_task(_once(suite))
    before, began = pss_kib(descendants(server)), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(IDLE):
            group.create_task(hold())
        while up < IDLE:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        took = time.monotonic() - began
        await asyncio.sleep(3)
        held = pss_kib(descendants(server)) - before
        listed, times = 0, []
        for _ in range(100):
            at = time.monotonic()
            page = await asyncio.to_thread(suite.api, "GET", "/sessions?limit=1000")
            times.append(time.monotonic() - at)
            listed = page.get("total") or len(page["items"])
        assert listed >= 1000
        at = time.monotonic()
        await _once(suite)
        login = time.monotonic() - at
        over.set()
    await asyncio.to_thread(
        wait_until, lambda: not suite.api("GET", "/sessions")["items"], 60, "all sessions have ended"
    )
    left = pss_kib(descendants(server)) - before
    print(
        f"{IDLE} sessions held in 2 workers: {held / IDLE:.0f} KiB each; all logged in within {took:.0f} s; a list of "
        f"a thousand takes {_ms(statistics.median(times))}, p99 {_ms(_p99(times))}; the next login {_ms(login)}; "
        f"ended: {left / 1024:.0f} MiB more than before"
    )


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


async def _once(suite: Suite, source: str = "127.0.0.1") -> float:
    began = time.monotonic()
    async with logged_in(suite, source) as sftp:
        await sftp.realpath(".")
    return time.monotonic() - began


def test_good_logins_among_ten_times_as_many_bad_ones(tmp_path: Path) -> None:
    with small_target(tmp_path) as flags, running("--workers", "2", "--direct", *flags) as suite:
        asyncio.run(_storm(suite))


async def _storm(suite: Suite) -> None:
    """Bad ones from ever new addresses, so that no penalty spares their key exchange and their password's hash."""
    good = [f"127.0.40.{number}" for number in range(1, 9)]
    strangers = (f"127.{50 + n // 62500}.{n // 250 % 250}.{1 + n % 250}" for n in count())
    storm = Storm(suite.port(), suite.ready["partner"]["username"], suite.ready["partner"]["password"])
    for source in good:
        await _once(suite, source)
    calm = [await _once(suite, good[n % len(good)]) for n in range(40)]
    over, denied, closed = asyncio.Event(), 0, 0

    async def guess() -> None:
        nonlocal denied, closed
        while not over.is_set():
            try:
                await storm.log_in(next(strangers), "", "wrong")
            except asyncssh.PermissionDenied:
                denied += 1
            except (asyncssh.Error, OSError):
                closed += 1
            else:
                raise AssertionError("a wrong password was good")

    times: list[float] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(guess())
        while len(times) < 60 or denied + closed < 10 * len(times):
            times.append(await _once(suite, good[len(times) % len(good)]))
            while denied + closed < 10 * len(times):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        over.set()
        took = time.monotonic() - began
    assert denied
    print(
        f"{len(times)} good logins, all let in, among {denied + closed} bad ones ({denied} denied, {closed} refused "
        f"before) in {took:.0f} s: {(len(times) + denied + closed) / took:.0f} logins/s; good ones: median "
        f"{_ms(statistics.median(times))}, p99 {_ms(_p99(times))} (without the storm: median "
        f"{_ms(statistics.median(calm))}, slowest {_ms(max(calm))})"
    )


def test_a_push_in_the_middle_of_a_hundred_transfers(tmp_path: Path) -> None:
    with small_target(tmp_path) as flags, running("--workers", "2", "--direct", *flags) as suite, suite.restored():
        asyncio.run(_push(suite, tmp_path / "files"))


async def _push(suite: Suite, files: Path) -> None:
    """First a new banner, then their listener is removed: live sessions keep what they began with."""
    started, half, go_on = 0, asyncio.Event(), asyncio.Event()
    outcomes = Outcomes(suite)

    async def upload(number: int) -> None:
        nonlocal started
        name = f"p{number}-small-{number}"
        async with logged_in(suite) as sftp, sftp.open(name, "wb") as file:
            data = content(name)
            await file.write(data[: len(data) // 2])
            started += 1
            if started == TRANSFERS:
                half.set()
            await go_on.wait()
            await file.write(data[len(data) // 2 :])

    def remove() -> float:
        node = suite.api("GET", "/items/inbound-nodes/partners")
        suite.api("PUT", "/items/inbound-nodes/partners", {**node, "banner": "new"})
        suite.api("POST", f"/servers/{SERVER}/push?wait=20")
        assert suite.sftp("pwd\n").returncode == 0
        suite.api("DELETE", f"/items/deployments/partners-on-{SERVER}")
        began = time.monotonic()
        suite.api("POST", f"/servers/{SERVER}/push?wait=20")
        return time.monotonic() - began

    async with asyncio.TaskGroup() as group:
        for number in range(TRANSFERS):
            group.create_task(upload(number))
        await half.wait()
        took = await asyncio.to_thread(remove)
        done = await asyncio.to_thread(suite.sftp, "pwd\n")
        assert done.returncode != 0, "new ones see the new configuration: no listener"
        assert "refused" in done.stderr
        go_on.set()
    for number in range(TRANSFERS):
        name = f"p{number}-small-{number}"
        assert (files / name).read_bytes() == content(name)
    await asyncio.to_thread(wait_until, lambda: outcomes.count().total() >= TRANSFERS, 10, "all sessions have ended")
    assert set(outcomes.count()) <= {"completed", "partner_closed"}, outcomes.count()
    assert len({fact["configuration"] for fact in outcomes.facts()}) >= 2, "each has the version that it began with"
    print(f"{TRANSFERS} transfers go on over a push that removes their listener ({took:.2f} s); all files whole")
