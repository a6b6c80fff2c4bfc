"""One run: all gateways are brought up, and take turns at the chosen rows."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.bench.gateways import client, peers, report
from tests.bench.gateways.gateway import Gateway, usp
from tests.bench.gateways.peers import Target
from tests.bench.gateways.rows import NEED_CPU, ONCE, ROWS, WITH_CIPHERS, Bench, Sample
from tests.e2e.suite import Suite, running

CIPHERS: Final = {
    "aes128-gcm": "aes128-gcm@openssh.com",
    "aes256-gcm": "aes256-gcm@openssh.com",
    "chacha20": "chacha20-poly1305@openssh.com",
}
MEMORY: Final = Path("/dev/shm")
OURS: Final = ("direct", "tunnel", "dedicated", "reuse")
DEDICATED: Final = ("dedicated", "reuse")
"""Directly, with the Rule's own key; the others pass the password through, as the Go relay does."""
PEERS: Final = ("openssh", "haproxy", "rclone")


def _several(known: Sequence[str]) -> Any:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
        return names

    return parse


def arguments(parser: argparse._ArgumentGroup) -> None:
    def several(flag: str, known: Sequence[str], default: str, what: str) -> None:
        parser.add_argument(flag, type=_several(known), default=default.split(","), metavar="A,B", help=what)

    several("--rows", list(ROWS), ",".join(ROWS), f"of {', '.join(ROWS)}")
    several("--ciphers", list(CIPHERS), "aes128-gcm", f"of {', '.join(CIPHERS)}; all rows but bytes use the first")
    ours = f"how the target is dialled and who logs in there, of {', '.join(OURS)} [direct,tunnel]"
    several("--usp", OURS, "direct,tunnel", ours)
    several("--peers", PEERS, ",".join(PEERS), f"of {', '.join(PEERS)}; what is not installed is left out")
    parser.add_argument("--gorelay", help="path of a Go relay to compare with")
    parser.add_argument("--floor", help="path of the C floor to compare with")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="per transfer [1024]")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="turns [3]")
    parser.add_argument("--logins", type=int, default=200, metavar="N", help="per turn [200]")
    parser.add_argument("--sessions", type=int, default=200, metavar="N", help="idle at once [200]")
    parser.add_argument("--crowd", type=int, default=1000, metavar="N", help="sessions of the row crowd [1000]")
    parser.add_argument("--line", type=int, default=1000, metavar="MBIT/S", help="rate of the row line [1000]")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="of usp-server [1]")
    parser.add_argument("--fast-path", choices=("on", "off", "both"), default="on", help="[on]")
    parser.add_argument("--port-base", type=int, default=4300, metavar="PORT", help="first of the demos' ports [4300]")


def run(options: argparse.Namespace) -> Iterator[str]:
    if MEMORY.is_dir():
        tempfile.tempdir = str(MEMORY)  # the demos', too: files of partners and of the target stay off the disk
    samples: list[Sample] = []
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usp-bench-")))
        suites = _suites(options, stack)
        _, first = next(iter(suites.values()))
        target = Target(first.ready["target"]["port"], **_account(first))
        for number, cipher in enumerate(CIPHERS[name] for name in options.ciphers):
            rows = [row for row in ROWS if row in options.rows and (not number or row in WITH_CIPHERS)]
            bench = Bench(
                here, first.files, options.size << 20, cipher, options.logins, options.sessions, options.crowd,
                options.line, first.ready["target"]["pid"],
            )  # fmt: skip
            with ExitStack() as own:
                gateways = _gateways(options, suites, target, bench, own)
                for found in _turns(rows, bench, gateways, options):
                    if isinstance(found, Sample):
                        samples.append(found)
                    yield f"  {found}"
    told = {name: value for name, value in vars(options).items() if name != "name"}
    yield f"\nWritten to {report.write(samples, told)}\n"
    yield from report.markdown(samples)


def _account(suite: Suite) -> dict[str, str]:
    listener = suite.ready["listeners"]["passthrough"]
    return {"username": listener["username"], "password": listener["password"]}


def _suites(options: argparse.Namespace, stack: ExitStack) -> dict[str, tuple[str, Suite]]:
    """name -> (of `OURS`, suite). All of them lead to the first one's target."""
    suites: dict[str, tuple[str, Suite]] = {}
    for switch in ("on", "off") if options.fast_path == "both" else (options.fast_path,):
        for way in options.usp:
            flags = ["--workers", str(options.workers)]
            if way != "tunnel":
                flags.append("--direct")
            for _, first in list(suites.values())[:1]:
                etc = first.dir / "etc"
                flags += ["--target", f"127.0.0.1:{first.ready['target']['port']}"]
                flags += ["--target-user", _account(first)["username"], "--target-key", str(etc / "gateway_key")]
                flags += ["--target-host-key", str(etc / "target_host_key.pub")]
            name = f"USP {way}" + (", fast path off" if switch == "off" else "")
            env = {"USP_SERVER__FAST_PATH": "true" if switch == "on" else "false"}
            port_base = options.port_base + 20 * len(suites)
            suites[name] = way, stack.enter_context(running(*flags, port_base=port_base, env=env))
            if way == "reuse":
                _share_connections(suites[name][1])
    return suites


def _share_connections(suite: Suite) -> None:
    node = suite.api("GET", "/items/outbound-nodes/target")
    suite.api("PUT", "/items/outbound-nodes/target", {**node, "connection_reuse": True})
    suite.api("POST", "/servers/usp-server-1/push?wait=30")


def _gateways(
    options: argparse.Namespace, suites: dict[str, tuple[str, Suite]], target: Target, bench: Bench, stack: ExitStack
) -> list[Gateway]:
    found: list[Gateway | None] = []
    account = {"username": target.username, "password": target.password}
    for name, (way, suite) in suites.items():
        if way in DEDICATED:
            found.append(usp(name, suite, suite.ready["partner"], "partners"))
            continue
        found.append(usp(name, suite, account))
        if "tcp" in suite.ready["listeners"]:
            found.append(usp(f"{name}, Direct Mode", suite, account, "tcp"))
    if "openssh" in options.peers:
        found.append(target.gateway())
    if "haproxy" in options.peers:
        found.append(stack.enter_context(peers.haproxy(target, bench.here)))
    if "rclone" in options.peers:
        found.append(stack.enter_context(peers.rclone(target, bench.here)))
    if options.gorelay:
        found.append(stack.enter_context(peers.go_relay(options.gorelay, target, bench.here, bench.cipher)))
    gateways = [gateway for gateway in found if gateway]
    for gateway in gateways:
        gateway.use_cipher(bench.cipher)
    return gateways


def _turns(
    rows: Sequence[str], bench: Bench, gateways: Sequence[Gateway], options: argparse.Namespace
) -> Iterator[Sample | str]:
    """Samples, and what was left out."""
    for row in rows:
        for _ in range(1 if row in ONCE else options.repeat):
            for gateway in gateways:
                if (gateway.processes or row not in NEED_CPU) and not (row in ONCE and gateway.shared):
                    try:
                        yield from ROWS[row](bench, gateway)
                    except client.TransferError as error:  # a peer that does not know this cipher
                        yield f"left out: {error}"
            if row == "bytes" and options.floor and (seconds := peers.floor(options.floor, bench.cipher)) is not None:
                yield Sample(f"CPU up, {bench.label}", "s/GiB", "floor in C", seconds)
        for big in (bench.target / "file", bench.here / "source"):
            big.unlink(missing_ok=True)
