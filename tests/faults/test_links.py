"""The tunnel's line breaks, is slow, flaps: sessions on a dead link end and are told, those on a slow one go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import Suite, running, wait_until
from tests.faults import line as lines
from tests.faults.line import FAR, Line
from tests.faults.places import (
    Outcomes,
    banner,
    configure,
    on_the_tunnel,
    restarted_with,
    status,
    tunnel_port,
)  # fmt: skip
from tests.faults.proxy import FaultProxy
from tests.faults.transfers import Uploads, round_trip

pytestmark = [pytest.mark.once, pytest.mark.long, pytest.mark.alone]

KEEPALIVE = 15.0
"""Seconds of silence until a link is given up, by default; and three until the next look."""
BAD_LINE = {"delay": 0.1, "jitter": 0.02, "loss": 0.05, "rate": 125_000.0}
"""200 ms there and back, 5 % lost, 1 Mbit/s each way, packets overtake each other."""
needs_tun = pytest.mark.skipif(not lines.is_possible(), reason="needs root and /dev/net/tun")


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "2") as suite:
        yield suite


@contextmanager
def on_a_line(suite: Suite, **how: float) -> Iterator[Line]:
    """usp-client reaches its server over a TUN device."""
    with suite.restored(), lines.line() as line:
        configure(suite, "tunnels/tunnel-1", address="0.0.0.0")
        with restarted_with(suite, "clients", **{'host     = "127.0.0.1"': f'host     = "{FAR}"'}):
            suite.wait_for_login(within=15)
            for name, value in how.items():
                setattr(line, name, value)
            yield line


def links(suite: Suite) -> int:
    return sum(link["state"] == "up" for link in status(suite)["tunnels"][0]["links"])


@contextmanager
def by_proxy(suite: Suite) -> Iterator[FaultProxy]:
    with on_the_tunnel(suite) as proxy:
        yield proxy


class Gone:
    """The client's host: nothing from it, nothing to it, no FIN."""

    def __init__(self, way: FaultProxy | Line) -> None:
        self._way = way

    def away(self, wanted: bool) -> None:
        if isinstance(self._way, FaultProxy):
            self._way.hole = wanted
        else:
            self._way.loss = 1.0 if wanted else 0.0


@pytest.mark.parametrize("way", ["proxy", pytest.param("packets", marks=needs_tun)])
def test_the_clients_host_is_gone(suite: Suite, tmp_path: Path, way: str) -> None:
    with by_proxy(suite) if way == "proxy" else on_a_line(suite) as found:
        host = Gone(found)
        uploads, outcomes = Uploads(suite, tmp_path, 4, size=20_000_000, rate=4_000), Outcomes(suite)
        uploads.under_way()
        began = time.monotonic()
        host.away(True)
        noticed = outcomes.wait_for("tunnel_down", 4, KEEPALIVE + 6)
        assert uploads.finish(20) == [False] * 4, "none was acknowledged, none hangs"
        wait_until(lambda: banner(suite.port()) == b"", 3, "the banner is withheld")
        withheld = time.monotonic() - began
        time.sleep(5)
        assert banner(suite.port()) == b""
        host.away(False)
        back = suite.wait_for_login(within=8)
        wait_until(lambda: links(suite) == 2, 15, "both links are up")
        assert set(outcomes.count()) <= {"tunnel_down", "completed", "partner_closed"}, outcomes.count()
    suite.wait_for_login(within=15)
    print(
        f"by {way}: sessions end with tunnel_down after {noticed:.1f} s, banner withheld after {withheld:.1f} s; "
        f"login {back:.1f} s after its return"
    )


def test_a_flapping_link(suite: Suite, tmp_path: Path) -> None:
    """Reset every two seconds, ten times: each time a login works again, and what is acknowledged is whole."""
    with on_the_tunnel(suite) as proxy:
        outcomes, took, acknowledged = Outcomes(suite), [], 0
        for turn in range(10):
            uploads = Uploads(suite, tmp_path, 2, size=400_000, rate=8_000 if turn % 2 else 1_000)
            time.sleep(1.5)
            assert proxy.reset() >= 1
            acknowledged += sum(uploads.finish(20))
            took.append(suite.wait_for_login(within=5))
        assert acknowledged
        assert outcomes.count()["tunnel_down"], outcomes.count()
        assert not outcomes.count()["internal"], outcomes.count()
    print(f"10 resets, {acknowledged} of 20 uploads acknowledged, all whole; login after {max(took):.1f} s at most")


def test_a_slow_link_lives(suite: Suite, tmp_path: Path) -> None:
    """200 ms and 1 Mbit/s, by proxy: a transfer fills the line for longer than the keepalive would wait."""
    with on_the_tunnel(suite) as proxy:
        links_before = proxy.dialled
        proxy.delay, proxy.rate = 0.1, 125_000.0
        began = time.monotonic()
        round_trip(suite, tmp_path, 3_000_000)
        took = time.monotonic() - began
        assert took > 2 * KEEPALIVE
        assert proxy.dialled == links_before, "no link was given up"
    print(f"200 ms, 1 Mbit/s: 3 MB there and back in {took:.0f} s ({6_000_000 / took / 125_000:.0%} of the line)")


@needs_tun
def test_a_bad_line_lives(suite: Suite, tmp_path: Path) -> None:
    """The same with lost and reordered packets."""
    with on_a_line(suite, **BAD_LINE) as line:
        sessions = len(suite.audit("session.started"))
        assert tunnel_port(suite)
        began = time.monotonic()
        round_trip(suite, tmp_path, 1_500_000)
        took = time.monotonic() - began
        assert took > KEEPALIVE
        assert line.lost > 20
        assert line.reordered
        assert links(suite) == 2
        assert len(suite.audit("session.started")) == sessions + 1
    print(
        f"200 ms, 5 % lost, 1 Mbit/s: 1.5 MB there and back in {took:.0f} s; {line.lost} of {line.sent} packets were "
        f"lost, {line.reordered} overtaken"
    )
