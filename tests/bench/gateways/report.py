"""Medians and ratios of what was measured, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.bench.gateways.rows import Sample

RESULTS: Final = Path(__file__).resolve().parents[3] / "bench" / "results"

PEERS: Final = {
    "CPU": ("Go relay", "HAProxy TCP"),
    "memory": ("Go relay",),
    "stream": ("OpenSSH direct",),
    "stat": ("OpenSSH direct",),
    "files": ("OpenSSH direct",),
}
"""With whom a row is compared, by its first word: the first that is there."""


def markdown(samples: Sequence[Sample]) -> Iterator[str]:
    """One table. Ratios are those of the medians of this run."""
    yield "| what | who | median | range | ratio |"
    yield "|---|---|---|---|---|"
    for row, unit in dict.fromkeys((sample.row, sample.unit) for sample in samples):
        values = _values(samples, row)
        peer = next((peer for peer in PEERS[row.split()[0]] if peer in values), None)
        for who, all_of_them in values.items():
            median = statistics.median(all_of_them)
            ratio = f"{median / statistics.median(values[peer]):.2f} x {peer}" if peer and who != peer else ""
            spread = f"{_short(min(all_of_them))}-{_short(max(all_of_them))}"
            yield f"| {row} | {who} | {_short(median)} {unit} | {spread} | {ratio} |"


def _values(samples: Sequence[Sample], row: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for sample in samples:
        if sample.row == row:
            found.setdefault(sample.who, []).append(sample.value)
    return found


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "congestion_control": _read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def _read(path: str) -> str:
    """Nothing where the system has no such file."""
    file = Path(path)
    return file.read_text().strip() if file.exists() else ""


def write(samples: Sequence[Sample], options: dict[str, Any]) -> Path:
    """A file of its own for every run."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    content = {"machine": machine(), "options": options, "samples": [asdict(sample) for sample in samples]}
    file.write_text(json.dumps(content, indent=1) + "\n")
    return file
