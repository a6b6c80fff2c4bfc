"""The scorecard: each fault, how it is provoked, what must hold, and the tests that show it.

A test prints its figures, one line each; what passed and what it printed is kept in figures.json, so that rows may be
played one at a time, and docs/reliability.md is made from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINKS, BAD, NETWORK = "tests/faults/test_links.py", "tests/faults/test_bad_targets.py", "tests/faults/test_network.py"
E2E: Final = "tests/e2e"


@dataclass(frozen=True)
class Row:
    """`tests`: files, or `file::function` (with all its parameters)."""

    name: str
    fault: str
    provoked: str
    asserted: str
    tests: tuple[str, ...]


ROWS: Final = (
    Row(
        "worker",
        "worker killed during transfers",
        "SIGKILL to one of two workers, an upload on each",
        "its sessions end (`internal`), the other upload is whole; a login within 2 s; the slot has a new worker",
        (f"{E2E}/test_faults.py::test_a_killed_worker_takes_only_its_own_sessions",),
    ),
    Row(
        "supervisor",
        "usp-server killed",
        "SIGKILL to the supervisor, and to it with all its workers, behind HAProxy",
        "a login within 5 s of its start, by a manager's push alone; only its own sessions end",
        (
            f"{E2E}/test_faults.py::test_a_restarted_server_is_served_again_by_the_manager",
            f"{E2E}/test_kill_all.py::test_a_server_or_its_client_is_killed",
        ),
    ),
    Row(
        "client",
        "usp-client killed, or its host gone",
        "SIGKILL; a black hole (no FIN, no RST), by a proxy and by dropping every packet",
        "sessions end with `tunnel_down` within keepalive x count (15 s), the banner is withheld, logins work "
        "soon after its return",
        (
            f"{E2E}/test_faults.py::test_a_killed_client_comes_back",
            f"{LINKS}::test_the_clients_host_is_gone",
        ),
    ),
    Row(
        "manager",
        "a manager killed at every step of a push",
        "death before and after each call of the store and of the server, over PostgreSQL and a real usp-server; "
        "SIGKILL to a process in the middle of a push to many",
        "another goes on; exactly one version; never a mixture; no status gets older than 5 s",
        (
            "tests/contract/test_fault_points.py",
            f"{E2E}/test_kill_all.py::test_a_manager_is_killed",
            f"{E2E}/test_history.py::test_a_push_to_many_outlives_its_manager",
        ),
    ),
    Row(
        "link",
        "bad link",
        "200 ms and 1 Mbit/s by a proxy; 200 ms, 5 % loss, reordering and 1 Mbit/s packet by packet (TUN device); "
        "reset every two seconds",
        "transfers are whole, no keepalive ends a slow but living session; after each reset a login within 5 s",
        (
            f"{LINKS}::test_a_slow_link_lives",
            f"{LINKS}::test_a_bad_line_lives",
            f"{LINKS}::test_a_flapping_link",
        ),
    ),
    Row(
        "targets",
        "target refuses; hangs at connect, banner, key exchange, auth, INIT, mid-file; changes its host key; "
        "penalises us",
        "a server of the tests at the Outbound Node's address for each; a proxy that cuts or swallows in the middle of "
        "a file",
        "the right Outcome, bounded time, nothing of our network told to the partner; the next login works",
        (BAD, f"{E2E}/test_targets.py"),
    ),
)
"""In the order of the page."""
