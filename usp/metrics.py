"""Every metric of the suite, declared here, once; each daemon exposes them on its own bind (`usp.health`).

usp-server has several processes but one exposition: a worker sends its `samples()` to the supervisor, which adds them
up (`Workers`). A worker that ends takes its gauges along; its counters stay in the sums, so that they never go back.
Label children are cached by their users (`SESSIONS.labels(...)` once per listener, not per event).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from usp import __version__, log

Sample = tuple[str, tuple[str, ...], float]
"""Name, label values in the declared order, value: what `usp.server.messages.Metrics` carries."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_METRICS: Final[list[MetricWrapperBase]] = []


def _counter(name: str, help: str, *labels: str) -> Counter:
    metric = Counter(name, help, labels, registry=None)
    _METRICS.append(metric)
    return metric


def _gauge(name: str, help: str, *labels: str) -> Gauge:
    metric = Gauge(name, help, labels, registry=None)
    _METRICS.append(metric)
    return metric


SESSIONS = _gauge("usp_sessions", "Partner sessions now", "listener")
SESSIONS_TOTAL = _counter("usp_sessions_total", "Partner sessions ended", "listener", "outcome")
LOGINS_TOTAL = _counter("usp_logins_total", "Partner logins decided", "listener", "outcome")
BYTES_TOTAL = _counter("usp_bytes_total", "Bytes relayed; direction in: from partners", "listener", "direction")
TARGET_CONNECTIONS = _gauge("usp_target_connections", "SSH connections to targets now", "target")
TUNNEL_LINKS = _gauge("usp_tunnel_links", "Tunnel links that are up", "tunnel")
WORKERS_READY = _gauge("usp_workers_ready", "Workers that take connections")
WORKER_RESTARTS_TOTAL = _counter("usp_worker_restarts_total", "Workers started again after they had ended")
REFUSED_TOTAL = _counter("usp_refused_total", "Connections refused at accept", "reason")
PENALTIES = _gauge("usp_penalties", "Sources and user names that have a penalty now")
TARGET_GUARD_DENIED_TOTAL = _counter(
    "usp_target_guard_denied_total", "Logins denied without asking the target, which saw enough failed ones", "target"
)
REQUESTS_REFUSED_TOTAL = _counter(
    "usp_requests_refused_total", "Channels and requests that partners were refused", "listener", "kind"
)
OPERATIONS_DENIED_TOTAL = _counter(
    "usp_operations_denied_total",
    "SFTP operations denied, or (outcome observed) passed by a policy that only observes",
    "listener",
    "outcome",
)
AUDIT_DROPPED_TOTAL = _counter(
    "usp_audit_dropped_total", "Audit lines lost for the file, the managers or syslog, which did not keep up", "sink"
)
SCANS_TOTAL = _counter("usp_scans_total", "Uploads scanned, by what the scan found", "listener", "verdict")
LOOP_LAG = _gauge("usp_loop_lag_seconds", "How late a worker's event loop was when it last reported", "slot")
PUSH_TOTAL = _counter("usp_push_total", "Configuration pushes by what became of them", "state")
EVENTS_TOTAL = _counter("usp_events_total", "Events of servers that this manager has stored")
CERTIFICATE_EXPIRY = _gauge(
    "usp_certificate_expiry_timestamp_seconds", "When a certificate ends, in Unix time", "certificate"
)
BUILD_INFO = _gauge("usp_build_info", "Always 1; the version is in the label", "version")
LOG_DROPPED = _gauge(
    "usp_log_dropped_lines", "Log lines lost since the start because the output was too slow or broken"
)

BUILD_INFO.labels(__version__).set(1)
LOG_DROPPED.set_function(log.dropped)


def samples() -> tuple[Sample, ...]:
    """This process's values, for its supervisor."""
    return tuple(
        (sample.name, tuple(sample.labels.values()), sample.value)
        for metric in _METRICS
        if metric is not BUILD_INFO
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )


class Workers:
    """The last samples of each worker, by slot, and what ended workers have counted."""

    def __init__(self) -> None:
        self._live: dict[int, tuple[Sample, ...]] = {}
        self._ended: dict[tuple[str, tuple[str, ...]], float] = {}

    def update(self, slot: int, samples: Iterable[Sample]) -> None:
        """A worker's newest samples take the place of its last ones."""
        self._live[slot] = tuple(samples)

    def end(self, slot: int) -> None:
        """The slot's worker is gone."""
        for name, labels, value in self._live.pop(slot, ()):
            if name.endswith("_total"):
                self._ended[name, labels] = self._ended.get((name, labels), 0.0) + value

    def sums(self) -> dict[tuple[str, tuple[str, ...]], float]:
        sums = dict(self._ended)
        for worker in self._live.values():
            for name, labels, value in worker:
                sums[name, labels] = sums.get((name, labels), 0.0) + value
        return sums

    def relayed(self) -> dict[str, tuple[int, int]]:
        """Listener -> bytes from its partners and to them, since the start."""
        found: dict[str, tuple[int, int]] = {}
        for (name, labels), value in self.sums().items():
            if name == "usp_bytes_total":
                bytes_in, bytes_out = found.get(labels[0], (0, 0))
                add = (int(value), 0) if labels[1] == "in" else (0, int(value))
                found[labels[0]] = bytes_in + add[0], bytes_out + add[1]
        return found


class _All(Collector):
    """This process's metrics and, in a supervisor, its workers' added to them."""

    def __init__(self, workers: Workers | None) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        sums = self._workers.sums() if self._workers else {}
        for metric in _METRICS:
            for family in metric.collect():
                yield _with_workers(family, metric._labelnames, sums)


def _with_workers(family: Metric, names: tuple[str, ...], sums: Mapping[tuple[str, tuple[str, ...]], float]) -> Metric:
    own = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    sample_name = f"{family.name}_total" if family.type == "counter" else family.name
    for key, value in sums.items():
        if key[0] == sample_name and len(key[1]) == len(names):
            own[key] = own.get(key, 0.0) + value
    merged = Metric(family.name, family.documentation, family.type)
    for (name, labels), value in own.items():
        merged.add_sample(name, dict(zip(names, labels, strict=True)), value)
    return merged


def render(workers: Workers | None = None) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(workers))
    return generate_latest(registry)
