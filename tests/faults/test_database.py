"""The database fails over: a standby takes over behind the address that managers know, with all that was committed."""

from __future__ import annotations

import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.databases import postgres
from tests.e2e.load import Load
from tests.e2e.suite import Suite, running, wait_until
from tests.faults.places import SERVER, status
from tests.faults.proxy import FaultProxy
from tests.ports import free_port

pytestmark = [pytest.mark.once, pytest.mark.long]


@contextmanager
def standby_of(primary: postgres.Postgres, folder: Path) -> Iterator[postgres.Postgres]:
    """A copy that follows, synchronously."""
    folder.chmod(0o755)
    made = replace(primary, folder=folder, port=free_port())
    shutil.chown(folder, "postgres")
    source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
    postgres._run(
        [*postgres._as_postgres(), postgres._program("pg_basebackup"), "-R", "-X", "stream", "-d", source,
         "-D", str(folder / "data")]
    )  # fmt: skip
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.write(f"unix_socket_directories = '{folder}'\n")
    made.start()
    try:
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.sql("SELECT pg_reload_conf()")
        yield made
    finally:
        made.stop()


def ready(suite: Suite, manager: int) -> bool:
    url = suite.ready["managers"][manager]["metrics"].replace("/metrics", "/readyz")
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_a_standby_takes_over(tmp_path: Path) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(postgres.running())
        primary.sql("ALTER DATABASE usp SET synchronous_commit = on")
        address = stack.enter_context(FaultProxy(primary.port))
        folder = Path(tempfile.mkdtemp(prefix="usp-pg-standby-"))
        stack.callback(shutil.rmtree, folder)
        standby = stack.enter_context(standby_of(primary, folder))
        url = tmp_path / "url"
        url.touch(mode=0o600)
        url.write_text(replace(primary, port=address.port).url())
        flags = ("--workers", "1", "--managers", "2", "--direct", "--database", f"@{url}")
        suite = stack.enter_context(running(*flags))
        login = {name: suite.ready["partner"][name] for name in ("username", "password")}
        load = stack.enter_context(Load(suite.port(), login, 6))
        wait_until(lambda: len(load.sessions) == 6, 30, "partners are at work")
        made = []
        for number in range(20):
            suite.api("POST", "/items/ip-filters", {"name": f"made-{number}"}, manager=number % 2)
            made.append(f"made-{number}")
        version, files = status(suite)["version"], len(load.acknowledged)

        address.hole = True  # the primary's host is gone
        primary.stop("immediate")
        wait_until(lambda: not any(ready(suite, manager) for manager in (0, 1)), 30, "managers are not ready")
        standby.sql("SELECT pg_promote()", "postgres")
        standby.sql("ALTER SYSTEM RESET synchronous_standby_names", "postgres")
        standby.sql("SELECT pg_reload_conf()", "postgres")
        address.to = ("127.0.0.1", standby.port)
        address.reset()
        address.hole = False
        took = wait_until(lambda: all(ready(suite, manager) for manager in (0, 1)), 60, "managers are ready again")

        there = {item["name"] for item in suite.api("GET", "/items/ip-filters?limit=1000")["items"]}
        assert set(made) <= there, "what was acknowledged is there"
        for manager in (0, 1):
            suite.api("POST", f"/servers/{SERVER}/push?wait=20", {"force": True}, manager=manager)
        assert status(suite)["version"] == version + 2
        assert len(load.acknowledged) > files
        assert not load.ends, "no session noticed"
        load.stop()
        load.check(suite.files)
        primary.start()  # for its own end
    print(f"failed over: managers ready {took:.1f} s later, {len(made)} acknowledged items there; no session noticed")
