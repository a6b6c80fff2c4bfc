"""A PostgreSQL of the tests' own: in a temporary directory, on a free port of loopback, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

USER, PASSWORD = "usp", "a password of the tests"

STARTS = 5
SETTINGS = {
    "fsync": "off",  # tests kill servers, not machines
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "autovacuum": "off",
    "jit": "off",
}


@dataclass(frozen=True)
class Postgres:
    """A running server. `USER` owns the database `usp` and may make more."""

    folder: Path
    port: int

    def url(self, name: str = "usp") -> str:
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{name}"

    def argument(self) -> str:
        """The URL as a command line may have it: in a file."""
        file = self.folder / "url"
        file.touch(mode=0o600)
        file.write_text(self.url())
        return f"@{file}"

    def conninfo(self, name: str = "usp") -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} password='{PASSWORD}' dbname={name}"

    def sql(self, statement: str, name: str = "usp", user: str = "postgres") -> str:
        """Run as the superuser, over the socket; what psql prints."""
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port), "-U", user]
        return _run([*argv, "-d", name, "-c", statement])

    def dump(self, name: str) -> bytes:
        """All tables of ours, as pg_dump writes them."""
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres"]
        lines = _run([_program("pg_dump"), *where, "-t", "*.usp_*", name]).splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))).encode()

    def start(self) -> None:
        options = ["-w", "-l", str(self.folder / "log"), "-o", f"-p {self.port}"]
        _run([*_as_postgres(), _program("pg_ctl"), "-D", str(self.folder / "data"), *options, "start"])

    def stop(self, mode: str = "immediate") -> None:
        _run([*_as_postgres(), _program("pg_ctl"), "-D", str(self.folder / "data"), "-m", mode, "-w", "stop"])


@contextmanager
def running() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="usp-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        argv = [_program("initdb"), "-D", str(folder / "data"), "-A", "scram-sha-256", "-U", "postgres", "-E", "UTF8"]
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        _run([*_as_postgres(), *argv, "--locale=C.UTF-8", "--no-sync", f"--pwfile={password}"])
        (folder / "data" / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 trust\n"
        )
        lines = [f"{name} = '{value}'\n" for name, value in SETTINGS.items()]
        lines.append(f"unix_socket_directories = '{folder}'\n")
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(lines)
        server = _started(folder)
        try:
            server.sql(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{PASSWORD}'", "postgres")
            server.sql(f"CREATE DATABASE usp OWNER {USER}", "postgres")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _started(folder: Path) -> Postgres:
    """On the next port that nobody takes before it does."""
    for _ in range(STARTS):
        server = Postgres(folder, free_port())
        try:
            server.start()
        except AssertionError:
            continue
        return server
    raise AssertionError((folder / "log").read_text())


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []


def _program(name: str) -> str:
    """Debian keeps the server's programs of each release in a directory of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is not installed: run tests/packages"
    return program


def _run(argv: Sequence[str]) -> str:
    # To a file: a server that is started keeps its standard output open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False, cwd="/")
        output.seek(0)
        text = output.read()
    assert done.returncode == 0, f"{argv[-1]}: {text}"
    return text.strip()
