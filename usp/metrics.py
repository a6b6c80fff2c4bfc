"""Every metric of the suite, declared here, once; each daemon exposes them on its own bind (`usp.health`).

usp-server has several processes but one exposition: a worker sends its `samples()` to the supervisor, which adds them
up (`Workers`). A worker that ends takes its gauges along; its counters and histograms stay in the sums, so that they
never go back. Label children are cached by their users (`SESSIONS.labels(...)` once per listener, not per event), and
nothing is counted packet by packet: what a session has moved is looked at when its worker reports.

docs/metrics.md is made from the declarations.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from usp import __version__, log

Kind = TypeVar("Kind", bound=MetricWrapperBase)
Sample = tuple[str, tuple[str, ...], float]
"""Name, label values in the declared order, value: what `usp.server.messages.Metrics` carries."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SERVER: Final = "usp-server"
CLIENT: Final = "usp-client"
MANAGER: Final = "usp-manager"
ALL: Final = "all"

DECLARED: Final[list[tuple[str, MetricWrapperBase]]] = []
"""Which daemon has values for it, and the metric."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTING: Final = ("_total", "_bucket", "_count", "_sum")
"""How the names of samples end that only grow."""


def _counter(of: str, name: str, help: str, *labels: str) -> Counter:
    return _declared(of, Counter(name, help, labels, registry=None))


def _gauge(of: str, name: str, help: str, *labels: str) -> Gauge:
    return _declared(of, Gauge(name, help, labels, registry=None))


def _histogram(of: str, name: str, help: str, *labels: str) -> Histogram:
    return _declared(of, Histogram(name, help, labels, registry=None, buckets=SECONDS))


def _declared(of: str, metric: Kind) -> Kind:
    DECLARED.append((of, metric))
    return metric


SESSIONS = _gauge(SERVER, "usp_sessions", "Partner sessions now", "listener")
SESSIONS_TOTAL = _counter(
    SERVER, "usp_sessions_total", "Partner sessions ended, by how they did", "listener", "outcome"
)
LOGINS_TOTAL = _counter(SERVER, "usp_logins_total", "Partner logins decided", "listener", "outcome")
BYTES_TOTAL = _counter(SERVER, "usp_bytes_total", "Bytes relayed; direction in: from partners", "listener", "direction")
HANDSHAKE_SECONDS = _histogram(
    SERVER,
    "usp_handshake_seconds",
    "Seconds from the connection to: partner: the end of its key exchange; target: our login there; tunnel: the link",
    "side",
)
TARGET_CONNECTIONS = _gauge(SERVER, "usp_target_connections", "SSH connections to targets now", "target")
TARGET_UP = _gauge(
    SERVER,
    "usp_target_up_workers",
    "Workers to which the listener's target is up; 0: it is down",
    "listener",
)
TUNNEL_LINKS = _gauge(f"{SERVER}, {CLIENT}", "usp_tunnel_links", "Tunnel links that are up", "tunnel")
TUNNEL_ROUND_TRIP = _gauge(
    SERVER, "usp_tunnel_round_trip_seconds", "The kernel's smoothed round trip of a worker's link", "tunnel", "slot"
)
FORWARDS = _gauge(CLIENT, "usp_forwards", "Connections to targets that this client holds for its server", "tunnel")
WORKERS_READY = _gauge(SERVER, "usp_workers_ready", "Workers that take connections")
WORKER_RESTARTS_TOTAL = _counter(SERVER, "usp_worker_restarts_total", "Workers started again after they had ended")
LOOP_LAG = _gauge(SERVER, "usp_loop_lag_seconds", "How late a worker's event loop was when it last reported", "slot")
QUEUE_DEPTH = _gauge(
    ALL,
    "usp_queue_depth",
    "What waits: log: lines to be written; supervisor: messages of workers to it; workers: of it to them",
    "queue",
)
REFUSED_TOTAL = _counter(SERVER, "usp_refused_total", "Connections refused at accept", "reason")
PENALTIES = _gauge(SERVER, "usp_penalties", "Sources and user names that have a penalty now")
TARGET_GUARD_DENIED_TOTAL = _counter(
    SERVER,
    "usp_target_guard_denied_total",
    "Logins denied without asking the target, which saw enough failed ones",
    "target",
)
REQUESTS_REFUSED_TOTAL = _counter(
    SERVER, "usp_requests_refused_total", "Channels and requests that partners were refused", "listener", "kind"
)
OPERATIONS_DENIED_TOTAL = _counter(
    SERVER,
    "usp_operations_denied_total",
    "SFTP operations denied, or (outcome observed) passed by a policy that only observes",
    "listener",
    "outcome",
)
TRANSFER_SECONDS_TOTAL = _counter(
    SERVER,
    "usp_transfer_seconds_total",
    "Seconds of files' transfers, by the side that was waited for",
    "listener",
    "side",
)
AUDIT_DROPPED_TOTAL = _counter(
    SERVER,
    "usp_audit_dropped_total",
    "Audit lines lost, by what did not keep up: file, managers, syslog, supervisor",
    "sink",
)
VIOLATIONS_TOTAL = _counter(
    SERVER,
    "usp_protocol_violations_total",
    "Channels ended because a partner or a target broke SFTP",
    "listener",
    "side",
)
SCANS_TOTAL = _counter(SERVER, "usp_scans_total", "Uploads scanned, by what the scan found", "listener", "verdict")
EVENTS_TOTAL = _counter(MANAGER, "usp_events_total", "Events of servers that this manager has stored")
SERVER_UP = _gauge(MANAGER, "usp_server_up", "1 while this manager reaches the Proxy Server, else 0", "server")
SERVER_STATE = _gauge(
    MANAGER, "usp_server_state", "1 for the state that a Proxy Server is in, 0 for others", "server", "state"
)
PUSH_TOTAL = _counter(MANAGER, "usp_push_total", "Configuration pushes by what became of them", "state")
PUSH_SECONDS = _histogram(MANAGER, "usp_push_seconds", "Seconds for a server to answer a push")
DATABASE_SECONDS = _histogram(
    MANAGER, "usp_database_seconds", "Seconds that a transaction took, waiting for a connection included", "kind"
)
DATABASE_CONNECTIONS = _gauge(MANAGER, "usp_database_connections", "Connections to the database that are in use")
DATABASE_FAILURES_TOTAL = _counter(
    MANAGER, "usp_database_failures_total", "Transactions that the database did not answer, or refused", "code"
)
CERTIFICATE_EXPIRY = _gauge(
    f"{SERVER}, {MANAGER}",
    "usp_certificate_expiry_timestamp_seconds",
    "When a certificate ends, in Unix time",
    "certificate",
)
BUILD_INFO = _gauge(ALL, "usp_build_info", "Always 1; the version is in the label", "version")
START_TIME = _gauge(ALL, "usp_start_time_seconds", "When the daemon started, in Unix time")
LOG_DROPPED = _gauge(
    ALL, "usp_log_dropped_lines", "Log lines lost since the start because the output was too slow or broken"
)

_OWN: Final = (BUILD_INFO, START_TIME)
"""What workers do not add to."""

for _sink in ("file", "managers", "syslog", "supervisor"):
    AUDIT_DROPPED_TOTAL.labels(_sink)  # so that the first loss is seen to grow
BUILD_INFO.labels(__version__).set(1)
START_TIME.set(time.time())
LOG_DROPPED.set_function(log.dropped)
QUEUE_DEPTH.labels("log").set_function(log.queued)


def samples() -> tuple[Sample, ...]:
    """This process's values, for its supervisor."""
    return tuple(
        (sample.name, tuple(sample.labels.values()), sample.value)
        for _, metric in DECLARED
        if metric not in _OWN
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    )


class Workers:
    """The last samples of each worker, by slot, and what ended workers have counted."""

    def __init__(self) -> None:
        self._live: dict[int, tuple[Sample, ...]] = {}
        self._ended: dict[tuple[str, tuple[str, ...]], float] = {}

    def update(self, slot: int, samples: Iterable[Sample], *, more: bool = False) -> None:
        """A worker's newest samples take the place of its last ones, or (`more`) go on with them."""
        self._live[slot] = (*(self._live.get(slot, ()) if more else ()), *samples)

    def end(self, slot: int) -> None:
        """The slot's worker is gone."""
        for name, labels, value in self._live.pop(slot, ()):
            if name.endswith(_COUNTING):
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
        for _, metric in DECLARED:
            for family in metric.collect():
                yield _with_workers(family, metric._labelnames, sums)


def _with_workers(family: Metric, names: tuple[str, ...], sums: Mapping[tuple[str, tuple[str, ...]], float]) -> Metric:
    own = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    ours = {each: (*names, "le") if each.endswith("_bucket") else names for each in _sample_names(family)}
    for key, value in sums.items():
        if key[0] in ours and len(key[1]) == len(ours[key[0]]):
            own[key] = own.get(key, 0.0) + value
    merged = Metric(family.name, family.documentation, family.type)
    for (name, labels), value in own.items():
        merged.add_sample(name, dict(zip(ours[name], labels, strict=True)), value)
    return merged


def _sample_names(family: Metric) -> tuple[str, ...]:
    if family.type == "histogram":
        return f"{family.name}_bucket", f"{family.name}_count", f"{family.name}_sum"
    return (f"{family.name}_total" if family.type == "counter" else family.name,)


def render(workers: Workers | None = None) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(workers))
    return generate_latest(registry)
