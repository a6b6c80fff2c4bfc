"""What is measured: where a partner comes in, and which processes do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.bench.gateways.process import cpu_seconds, pss_kib
from tests.e2e.suite import Suite


@dataclass(frozen=True)
class Gateway:
    """`processes`: name -> pids. `use_cipher` makes the leg to the target use a cipher; the partner's leg follows the
    client. `shared`: the processes are another gateway's, too."""

    name: str
    port: int
    username: str
    password: str
    processes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    shared: bool = False
    use_cipher: Callable[[str], None] = lambda cipher: None

    def cpu(self) -> dict[str, float]:
        """Seconds so far, per name of processes."""
        return {name: cpu_seconds(pids) for name, pids in self.processes.items()}

    def pss(self) -> dict[str, int]:
        return {name: pss_kib(pids) for name, pids in self.processes.items()}


def usp(name: str, suite: Suite, account: Mapping[str, str], listener: str = "passthrough") -> Gateway:
    """A suite's gateway. `account`: what partners log in with there."""
    server = suite.ready["servers"][0]
    processes = {"usp-server": (server["pid"], *server["worker_pids"])}
    if suite.ready["clients"]:
        processes["usp-client"] = (suite.ready["clients"][0]["pid"],)

    def use_cipher(cipher: str) -> None:
        node = suite.api("GET", "/items/outbound-nodes/target")
        algorithms = {**node["algorithms"], "ciphers": [cipher]}
        if node["algorithms"] != algorithms:
            suite.api("PUT", "/items/outbound-nodes/target", {**node, "algorithms": algorithms})
            suite.api("POST", "/servers/usp-server-1/push?wait=30")

    port = suite.ready["listeners"][listener]["port"]
    return Gateway(name, port, account["username"], account["password"], processes, listener == "tcp", use_cipher)
