"""The whole daemon replaces its program, in place: with and without a configuration, and not when it must not."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.unit.server.support import free_port, snapshot, until
from tests.unit.server.test_main import HOST_KEY, alive, partners, running


async def test_sessions_stay_and_the_life_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        port = free_port()
        await daemon.api("PUT", "/v1/snapshot", snapshot(3, partners(port, HOST_KEY)).to_wire())
        before = await daemon.report()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        old = await daemon.worker_pids()
        (session,) = (await daemon.api("GET", "/v1/sessions"))[1]["sessions"]
        assert await daemon.api("POST", "/v1/drain") == (204, None)
        daemon.process.send_signal(signal.SIGUSR2)
        await until(lambda: "upgrade.started" in daemon.log(), 20)
        await until(lambda: daemon.log().count("daemon.started") == 2, 20)

        async def after() -> dict[str, object]:
            while True:
                report = await daemon.report()
                if all(slot["ready"] for slot in report["slots"]):
                    return report
                await asyncio.sleep(0.05)

        report = await asyncio.wait_for(after(), 20)
        for same in ("boot", "started_at", "version", "digest", "intake"):
            assert report[same] == before[same] or same == "intake"
        assert report["intake"] == "closed"
        assert report["sessions"] == 1
        assert not {*await daemon.worker_pids()} & {*old}
        assert (await daemon.api("GET", "/v1/sessions"))[1]["sessions"] == [session]
        assert sum(map(alive, old)) == 1, "the one without a session has ended"
        assert await daemon.api("POST", "/v1/undrain") == (204, None)
        assert await daemon.api("DELETE", f"/v1/sessions/{session['id']}") == (204, None)
        assert await reader.read() != b"hello"  # the rest of the key exchange, and the end
        writer.close()
        await until(lambda: not any(map(alive, old)), 10)
        daemon.process.terminate()
        assert await asyncio.wait_for(daemon.process.wait(), 10) == 0
        assert "Traceback" not in daemon.log()


async def test_without_a_configuration_and_with_one_that_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path, workers=1) as daemon:
        for _ in range(2):  # at once, which is once
            daemon.process.send_signal(signal.SIGUSR2)
        await until(lambda: daemon.log().count("daemon.started") == 2, 20)
        await until(lambda: daemon.log().count("worker.started") == 2, 20)
        assert (await daemon.report())["version"] == 0
        config = tmp_path / "usp-server.hcl"
        sound = config.read_text()
        config.write_text(sound + "nonsense = 1\n")
        daemon.process.send_signal(signal.SIGUSR2)
        await until(lambda: "upgrade.refused" in daemon.log(), 20)
        assert "nonsense" in daemon.log()
        assert (await daemon.report())["version"] == 0
        assert daemon.log().count("daemon.started") == 2
