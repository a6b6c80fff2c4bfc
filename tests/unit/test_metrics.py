"""One exposition for a daemon and its workers, whose counters never go back."""

from __future__ import annotations

import pytest

from usp import __version__, metrics
from usp.metrics import Sample, Workers

WORKER: tuple[Sample, ...] = (
    ("usp_sessions", ("l",), 2.0),
    ("usp_sessions_total", ("l", "completed"), 3.0),
    ("usp_workers_ready", (), 1.0),
)


def shown(workers: Workers | None = None) -> dict[str, float]:
    lines = [line for line in metrics.render(workers).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_every_metric_is_ours_and_documented() -> None:
    text = metrics.render().decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert all(name.startswith("usp_") for name in names)
    assert text.count("# HELP") == len(names)
    assert shown()[f'usp_build_info{{version="{__version__}"}}'] == 1


def test_own_values_and_samples_agree() -> None:
    metrics.REFUSED_TOTAL.labels("test_own_values").inc(5)
    assert ("usp_refused_total", ("test_own_values",), 5.0) in metrics.samples()
    assert shown()['usp_refused_total{reason="test_own_values"}'] == 5
    assert not any(name.endswith("_created") or name == "usp_build_info" for name, _, _ in metrics.samples())


def test_workers_are_added_up() -> None:
    metrics.SESSIONS_TOTAL.labels("l", "completed").inc(10)
    workers = Workers()
    workers.update(0, WORKER)
    workers.update(1, WORKER)
    workers.update(1, WORKER)  # the newest replaces the last
    found = shown(workers)
    assert found['usp_sessions{listener="l"}'] == 4
    assert found['usp_sessions_total{listener="l",outcome="completed"}'] == 16
    assert found["usp_workers_ready"] == 2


def test_an_ended_workers_counters_stay_and_its_gauges_go() -> None:
    workers = Workers()
    workers.update(0, WORKER)
    workers.end(0)
    workers.end(0)
    workers.update(0, WORKER)
    sums = workers.sums()
    assert sums["usp_sessions_total", ("l", "completed")] == 6
    assert sums["usp_sessions", ("l",)] == 2


def test_bytes_per_listener_go_on_when_a_worker_ends() -> None:
    workers = Workers()
    workers.update(0, [("usp_bytes_total", ("l", "in"), 5.0), ("usp_bytes_total", ("l", "out"), 7.0)])
    workers.end(0)
    workers.update(0, [("usp_bytes_total", ("l", "in"), 1.0), ("usp_bytes_total", ("m", "out"), 2.0), *WORKER])
    assert workers.relayed() == {"l": (6, 7), "m": (0, 2)}


def test_histograms_are_added_up_and_outlive_a_worker() -> None:
    before = shown()
    line = 'usp_handshake_seconds_bucket{le="0.1",side="test"}'
    worker = (
        ("usp_handshake_seconds_bucket", ("test", "0.05"), 1.0),
        ("usp_handshake_seconds_bucket", ("test", "0.1"), 3.0),
        ("usp_handshake_seconds_count", ("test",), 3.0),
        ("usp_handshake_seconds_sum", ("test",), 0.2),
    )
    workers = Workers()
    workers.update(0, worker[:2])
    workers.update(0, worker[2:], more=True)
    workers.update(1, worker)
    workers.end(1)
    found = shown(workers)
    assert line not in before
    assert found[line] == 6
    assert found['usp_handshake_seconds_count{side="test"}'] == 6
    assert found['usp_handshake_seconds_sum{side="test"}'] == pytest.approx(0.4)


def test_what_is_counted_in_a_worker_is_told_whole() -> None:
    metrics.HANDSHAKE_SECONDS.labels("test_own").observe(0.3)
    told = {(name, labels): value for name, labels, value in metrics.samples()}
    assert told["usp_handshake_seconds_bucket", ("test_own", "0.25")] == 0
    assert told["usp_handshake_seconds_bucket", ("test_own", "+Inf")] == 1
    assert not any(name == "usp_start_time_seconds" for name, _ in told)


@pytest.mark.parametrize("sample", [("usp_other", ("l",), 1.0), ("usp_sessions", ("l", "m"), 1.0)])
def test_what_is_not_declared_is_left_out(sample: Sample) -> None:
    workers = Workers()
    workers.update(0, [sample])
    before = shown()
    assert shown(workers) == before
