"""A configuration with 10,000 Accounts pushed to 20 real usp-servers, while a transfer goes through one of them.

Twice: all the Accounts new, and one of them changed. The seconds are those of this machine, on which all of them run;
what counts is the CPU time, of the manager and for each server, because servers stand on machines of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.bench.catalog import ACCOUNTS, HASH
from tests.bench.gateways.process import cpu_seconds
from tests.e2e.suite import Suite, random_file, running, sha256
from tests.unit.manager.site import PUBLIC

TRANSFER: Final = 64 << 20


def arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--servers", type=int, default=20, metavar="N", help="usp-servers, of one worker each [20]")


def run(options: argparse.Namespace) -> Iterator[str]:
    flags = ["--servers", str(options.servers), "--workers", "1", "--direct"]
    with running(*flags, port_base=4700) as suite, tempfile.TemporaryDirectory() as folder:
        digest = random_file(Path(folder) / "up", TRANSFER)
        batch = f"put {folder}/up pushed\nget pushed {folder}/down\n" * 2
        suite.api("POST", "/apply", {"items": _items()})
        transfer = suite.start_sftp(batch, "-l", "50000")  # kbit/s: it outlasts both pushes
        yield _pushed(suite, f"{ACCOUNTS:,} new Accounts")
        account = suite.api("GET", "/items/accounts/account-00000")
        suite.api("PUT", "/items/accounts/account-00000", {**account, "target_username": "another"})
        yield _pushed(suite, "one of them changed")
        assert transfer.poll() is None, "the transfer ended before the pushes did"
        assert transfer.wait(120) == 0, transfer.stdout and transfer.stdout.read()
        assert transfer.stdout
        transfer.stdout.close()
        assert sha256(Path(folder) / "down") == digest
        yield "  the transfer meanwhile: whole"


def _items() -> dict[str, list[dict[str, object]]]:
    keys = [{"name": f"key-{n}", "public_key": f"{PUBLIC} {n}"} for n in range(100)]
    accounts: list[dict[str, object]] = [
        {
            "name": f"account-{n:05}",
            "account_repository": "partners",
            "username": f"partner{n:05}",
            "password": HASH,
            "public_keys": [f"key-{n % 100}"],
        }
        for n in range(ACCOUNTS)
    ]
    return {"public-keys": [dict(key) for key in keys], "accounts": accounts}


def _pushed(suite: Suite, what: str) -> str:
    servers = suite.ready["servers"]

    def push(name: str) -> str:
        answer = suite.api("POST", f"/servers/{name}/push?wait=60")
        assert not answer["unchanged"], name
        return str(answer["state"])

    before, begin = _cpu(suite), time.perf_counter()
    with ThreadPoolExecutor(len(servers)) as pool:
        states = list(pool.map(push, [server["name"] for server in servers]))
    took = time.perf_counter() - begin
    assert set(states) == {"applied"}, states
    manager, each = (now - was for now, was in zip(_cpu(suite), before, strict=True))
    return (
        f"  {what}, applied by all {len(servers)} after {took:.1f} s"
        f"; CPU: manager {manager:.2f} s, each server {each / len(servers):.2f} s"
    )


def _cpu(suite: Suite) -> tuple[float, float]:
    """Of the manager, and of all the servers."""
    servers = [pid for server in suite.ready["servers"] for pid in (server["pid"], *server["worker_pids"])]
    return cpu_seconds([suite.ready["managers"][0]["pid"]]), cpu_seconds(servers)
