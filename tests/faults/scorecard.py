"""The scorecard: each fault, how it is provoked, what must hold, and the tests that show it.

A test prints its figures, one line each; what passed and what it printed is kept in figures.json, so that rows may be
played one at a time, and docs/reliability.md is made from both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

E2E, CONTRACT = "tests/e2e", "tests/contract"
LINKS, BAD, NETWORK, DISKS, LOAD = (
    f"tests/faults/test_{name}.py" for name in ("links", "bad_targets", "network", "disks", "load")
)


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
            f"{E2E}/test_kill_all.py::test_no_acknowledged_file_is_lost_or_wrong",
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
            f"{E2E}/test_kill_all.py::test_no_acknowledged_file_is_lost_or_wrong",
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
    Row(
        "network",
        "network between manager and server cut, slow, flapping",
        "connections refused, or swallowed, for 12 s; 2 s round trip with jitter and 64 kbit/s; cut every second "
        "during pushes",
        "partners do not notice; the status ages visibly, and is never 'stopped' for what runs; versions come in "
        "order, the last one is in force",
        tuple(
            f"{NETWORK}::test_{name}"
            for name in (
                "the_way_to_the_server_is_cut",
                "a_slow_way_to_the_server",
                "a_flapping_way_to_the_server",
            )
        ),
    ),
    Row(
        "half-open",
        "half-open partner, half-open target",
        "a black hole in the middle of an upload (idle limit 8 s)",
        "the session is reaped within the idle limit or the keepalives, nothing is left of it, the other side is told",
        (f"{NETWORK}::test_a_half_open_partner", f"{NETWORK}::test_a_half_open_target"),
    ),
    Row(
        "disks",
        "disk full, quota, read-only, permission denied at the target; disk full or read-only for our own logs",
        "small file systems that fill up; a quota (btrfs); an immutable file",
        "the target's words reach the partner unchanged; with our own disk full, files pass, what was lost is counted "
        "and told, the managers have it all",
        (DISKS,),
    ),
    Row(
        "push",
        "push in the middle of a hundred transfers, with the removal of their listener",
        "each upload waits at its half while two versions are pushed; the second one has no such listener",
        "every session keeps the version that it began with and its file is whole; new connections are refused",
        (f"{LOAD}::test_a_push_in_the_middle_of_a_hundred_transfers",),
    ),
    Row(
        "haproxy",
        "HAProxy moves partners, drains, is reloaded",
        "the real HAProxy with checks, agent checks and stick tables; a drain and a reload under a transfer; a restart "
        "of what is drained (servers that are killed behind it: `supervisor`)",
        "a transfer that runs outlives both, whole; partners go elsewhere; what is drained stays so; nobody notices "
        "the reload, and our logs stay quiet",
        (f"{E2E}/test_haproxy.py",),
    ),
    Row(
        "database",
        "database stopped, killed, failed over, connections ended by its administrator",
        "a PostgreSQL of the tests killed, and away for 60 s under load; a standby promoted behind the same address; "
        "the connection lost at every message of a write",
        "no session notices; managers say that they are not ready, and recover alone; nothing is half written, nothing "
        "that was acknowledged is lost",
        (
            f"{E2E}/test_managers.py::test_the_database_goes_away_and_comes_back",
            f"{E2E}/test_managers.py::test_connections_that_the_database_ends_under_load",
            f"{E2E}/test_kill_all.py::test_the_database_is_killed",
            f"{E2E}/test_kill_all.py::test_no_acknowledged_file_is_lost_or_wrong",
            "tests/faults/test_database.py",
            f"{CONTRACT}/test_losing.py",
        ),
    ),
    Row(
        "upgrade",
        "upgrade of every daemon under load, one release of skew",
        "managers, servers and clients replaced one after the other behind HAProxy while partners transfer; an upgrade "
        "in place (SIGUSR2) during an upload and a storm of connections",
        "no session ends before its time, no acknowledged file is lost, old workers drain",
        (f"{E2E}/test_upgrade.py", f"{E2E}/test_handover.py"),
    ),
    Row(
        "idle",
        "thousands of idle sessions",
        "2,000 partners log in and stay",
        "all are held and listed; the next one gets in; all end (their memory stays for the next ones: in the soak it "
        "does not grow)",
        (f"{LOAD}::test_idle_sessions",),
    ),
    Row(
        "storm",
        "login storm: ten bad logins for each good one, and a storm of all kinds of connections",
        "wrong passwords from ever new addresses, so that no penalty spares their key exchange and their hash; "
        "garbage, half key exchanges, silence",
        "every good login gets in; penalties reach the guilty only; memory and descriptors are back",
        (f"{LOAD}::test_good_logins_among_ten_times_as_many_bad_ones", f"{E2E}/test_storm.py"),
    ),
    Row(
        "attacks",
        "good logins under attack",
        "ten strangers at a time, each from an address of its own, without end: silence, garbage, half key exchanges, "
        "logins of no method, wrong passwords, key exchanges before the login; and a partner's own key exchanges",
        "every good login gets in; what it takes is measured before and meanwhile",
        (f"{E2E}/test_under_attack.py",),
    ),
    Row(
        "clocks",
        "clock jumps an hour ahead and back",
        "libfaketime moves the wall clock of the running server with its workers, of the client, of the manager; "
        "uploads under way",
        "uploads are whole, partners and administrators get in and stay in, a push works; from the managers' next look "
        "on (2 s after the jump) the status does not seem old",
        ("tests/faults/test_clocks.py",),
    ),
    Row(
        "exhaustion",
        "descriptors, memory, processes exhausted",
        "limits set on the running worker or supervisor (prlimit, a full control group), uploads under way; partners "
        "come until one of two workers has no memory left: no more address space, or the kernel kills it",
        "new ones are refused or wait, those that are there go on, the next one gets in as soon as there is room; a "
        "worker that dies takes its own sessions only, and the next login works",
        ("tests/faults/test_exhaustion.py",),
    ),
    Row(
        "certificates",
        "certificate or key expired, rotated, wrong",
        "certificates of other authorities and identities at the control API; files replaced and SIGHUP; certificates "
        "that come to an end; data keys and key-encryption keys rotated, killed at every step",
        "warned 30, 7 and 1 days before; refused; reloaded for new connections without a restart; every secret can be "
        "read",
        (
            "tests/unit/server/test_control.py::test_without_a_certificate_of_our_ca_there_is_no_answer",
            "tests/unit/server/test_control.py::test_a_reload_is_for_new_connections",
            "tests/unit/test_expiry.py",
            "tests/unit/test_certificates.py",
            f"{CONTRACT}/test_rotation.py",
        ),
    ),
    Row(
        "failure-points",
        "every call fails at its n-th time, for every n",
        "statements and commits of the store; messages to the database; messages of a tunnel link; messages from the "
        "supervisor to a worker (socket full, worker dead); messages of a push; steps of a manager",
        "nothing half written, nothing done twice, nothing acknowledged that was not done; the next try works; no "
        "descriptor and no task is left",
        (
            f"{CONTRACT}/test_nth_statement.py",
            "tests/faults/test_nth.py",
        ),
    ),
)
"""In the order of the page."""
