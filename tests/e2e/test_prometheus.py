"""A real Prometheus scrapes the suite: the alert rules load, and every query of the dashboard returns data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import ROOT, Suite, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.once
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="needs Debian's prometheus"
)
ETC = ROOT / "etc"
DASHBOARD = json.loads((ETC / "grafana" / "usp.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def ask(self, expr: str) -> list[Any]:
        found: list[Any] = self.get("query", query=expr)["result"]
        return found


@pytest.fixture(scope="module")
def prometheus(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(ETC / "prometheus" / "usp-alerts.yml", folder)
    targets = "".join(
        f"      - targets: ['{urllib.parse.urlsplit(each['metrics']).netloc}']\n        labels: {{daemon: {daemon}}}\n"
        for daemon, kind in (("usp-server", "servers"), ("usp-client", "clients"), ("usp-manager", "managers"))
        for each in suite.ready[kind]
    )
    sample = (ETC / "prometheus" / "prometheus.yml").read_text()
    head, _, _ = sample.partition("      - targets:")
    config = folder / "prometheus.yml"
    config.write_text(head.replace("15s", "500ms") + targets)
    port = free_port()
    argv = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("w") as output:
        popen = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, "GOMAXPROCS": "1"})
    made = Prometheus(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: _up(made), 30, "Prometheus scrapes all daemons")
        yield made
    finally:
        popen.terminate()
        popen.wait(20)


def _up(prometheus: Prometheus) -> bool:
    try:
        return len(prometheus.ask('up{job="usp"} == 1')) == 3
    except OSError:
        return False


@needs_prometheus
def test_promtool_finds_nothing_wrong() -> None:
    for what, file in (("rules", "usp-alerts.yml"), ("config", "prometheus.yml")):
        argv = ["promtool", "check", what, str(ETC / "prometheus" / file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_every_query_of_the_dashboard_returns_data(suite: Suite, prometheus: Prometheus) -> None:
    (suite.files / "from-partner").unlink(missing_ok=True)
    assert suite.sftp(f"put {Path(__file__)} from-partner\n").returncode == 0
    assert suite.sftp("pwd\n", password="wrong").returncode != 0
    server = suite.ready["servers"][0]["name"]
    suite.api("POST", f"/servers/{server}/push?wait=10")
    suite.api("POST", f"/servers/{server}/drain")
    try:
        wait_until(lambda: suite.sftp("pwd\n").returncode != 0, 20, "the drained server refuses")
    finally:
        suite.api("POST", f"/servers/{server}/undrain")
    deadline = time.monotonic() + 25
    missing = QUERIES
    while missing and time.monotonic() < deadline:
        missing = [expr for expr in missing if not prometheus.ask(expr)]
        time.sleep(0.3)
    assert missing == []
    assert float(prometheus.ask('sum(usp_bytes_total{direction="in"})')[0]["value"][1]) >= Path(__file__).stat().st_size
    assert float(prometheus.ask('sum(usp_logins_total{outcome!="ok"})')[0]["value"][1]) >= 1
    assert float(prometheus.ask("sum(usp_refused_total)")[0]["value"][1]) >= 1


@needs_prometheus
def test_rules_are_about_metrics_that_there_are_and_quiet_in_a_sound_suite(prometheus: Prometheus) -> None:
    """The names of metrics in rules and dashboard are declared ones: a query of none returns nothing for ever."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    declared = set(re.findall(r"`(usp_\w+)`", page))
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    for expr in [*QUERIES, *(rule["query"] for rule in rules)]:
        for name in re.findall(r"usp_\w+", expr):
            assert re.sub(r"_(bucket|count|sum)$", "", name) in declared or name in declared, name
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing == set()
