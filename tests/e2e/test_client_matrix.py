"""A matrix of other people's clients and of what people do with them, under a policy that allows everything.

Each client makes a directory, uploads a file and renames it, uploads the beginning of another and resumes it, sets
permissions, downloads and lists; then it removes all of it. What is at the target is looked at in between, and nothing
of it may have been denied.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.e2e.suite import ROOT, Suite, random_file, sha256
from usp.ssh import keys

SIZE, HEAD = 700_000, 300_000
HERE = Path(__file__).parent
JSCH = Path("/usr/share/java/jsch.jar")
MODULES = ROOT / ".venv" / "node"
"""Where ssh2-sftp-client is installed, once."""


@dataclass
class Desk:
    """Where a client works: `local` has `up`, its beginning `head` and the rest `tail`; `remote` is its directory."""

    suite: Suite
    local: Path
    remote: str
    first: bool

    @property
    def user(self) -> str:
        user: str = self.suite.ready["partner"]["username"]
        return user

    @property
    def password(self) -> str:
        password: str = self.suite.ready["partner"]["password"]
        return password

    @property
    def port(self) -> int:
        return self.suite.port()

    def run(self, *argv: str, text: str = "", **env: str) -> str:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=60, check=False, cwd=self.local,
            env={**os.environ, "PASSWORD": self.password, "SSHPASS": self.password, **env},
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def matrix(suite: Suite) -> Iterator[Suite]:
    """The shared suite, with an ECDSA host key and older algorithms besides: curl (libssh2) and JSch know no newer."""
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_private_key().decode()
    with suite.restored():
        suite.api("POST", "/items/private-keys", {"name": "ecdsa", "private_key": key})
        node = suite.api("GET", "/items/inbound-nodes/partners")
        host_keys, algorithms = [*node["host_keys"], "ecdsa"], {"profile": "compatible"}
        changed = {**node, "host_keys": host_keys, "algorithms": algorithms}
        suite.api("PUT", "/items/inbound-nodes/partners", changed)
        suite.api("POST", "/servers/usp-server-1/push?wait=10")
        yield suite


def openssh(desk: Desk) -> str:
    first = "mkdir {0}\nput up {0}/a\nrename {0}/a {0}/b\nput head {0}/r\nreput up {0}/r\nchmod 640 {0}/b\n"
    first += "get {0}/b down\nls {0}\n"
    last = "rm {0}/b\nrm {0}/r\nrmdir {0}\n"
    argv = desk.suite.sftp_argv()
    return desk.run(*argv, text=(first if desk.first else last).format(desk.remote))


def psftp(desk: Desk) -> str:
    """As WinSCP's core does it: PuTTY's."""
    first = "mkdir {0}\nput up {0}/a\nmv {0}/a {0}/b\nput head {0}/r\nreput up {0}/r\nchmod 640 {0}/b\n"
    first += "get {0}/b down\nls {0}\n"
    last = "rm {0}/b\nrm {0}/r\nrmdir {0}\n"
    line = Path(desk.suite.ready["partner"]["known_hosts"]).read_text().splitlines()[0]
    host_key = keys.fingerprint(keys.parse_public(line.split(" ", 1)[1]))
    return desk.run(
        "psftp", "-batch", "-P", str(desk.port), "-l", desk.user, "-hostkey", host_key, "-pw", desk.password,
        "127.0.0.1", text=(first if desk.first else last).format(desk.remote),
    )  # fmt: skip


def curl(desk: Desk) -> str:
    base, login = f"sftp://127.0.0.1:{desk.port}/~/{desk.remote}", ("-sS", "-k", "-u", f"{desk.user}:{desk.password}")
    home = f"{desk.suite.files}/{desk.remote}"
    if not desk.first:
        quotes: tuple[str, ...] = (f"rm {home}/b", f"rm {home}/r", f"rmdir {home}")
        return desk.run("curl", *login, *(x for each in quotes for x in ("-Q", each)), base.rpartition("/")[0] + "/")
    desk.run("curl", *login, "--ftp-create-dirs", "-T", "up", f"{base}/a", "-T", "head", f"{base}/r")
    desk.run("curl", *login, "-C", str(HEAD), "-T", "up", f"{base}/r")
    quotes = (f"rename {home}/a {home}/b", f"chmod 640 {home}/b")
    desk.run("curl", *login, *(x for each in quotes for x in ("-Q", each)), "-o", "down", f"{base}/b")
    return desk.run("curl", *login, "-l", f"{base}/")


def in_paramiko(desk: Desk) -> str:
    transport = paramiko.Transport(("127.0.0.1", desk.port))
    try:
        transport.connect(username=desk.user, password=desk.password)
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        dir, local = desk.remote, desk.local
        if not desk.first:
            sftp.remove(f"{dir}/b")
            sftp.remove(f"{dir}/r")
            sftp.rmdir(dir)
            return ""
        sftp.mkdir(dir)
        sftp.put(str(local / "up"), f"{dir}/a")
        sftp.posix_rename(f"{dir}/a", f"{dir}/b")
        sftp.put(str(local / "head"), f"{dir}/r")
        with sftp.open(f"{dir}/r", "ab") as file:
            file.write((local / "tail").read_bytes())
        sftp.chmod(f"{dir}/b", 0o640)
        sftp.get(f"{dir}/b", str(local / "down"))
        return "\n".join(sftp.listdir(dir))
    finally:
        transport.close()


def in_asyncssh(desk: Desk) -> str:
    """With as many requests on their way as FileZilla has, and more."""
    return asyncio.run(_in_asyncssh(desk))


async def _in_asyncssh(desk: Desk) -> str:
    async with (
        asyncssh.connect(
            "127.0.0.1", desk.port, username=desk.user, password=desk.password, config=None, client_keys=None,
            known_hosts=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):  # fmt: skip
        dir, local = desk.remote, desk.local
        if not desk.first:
            await asyncio.gather(sftp.remove(f"{dir}/b"), sftp.remove(f"{dir}/r"))
            await sftp.rmdir(dir)
            return ""
        await sftp.mkdir(dir)
        await sftp.put(local / "up", f"{dir}/a", block_size=4096, max_requests=256)
        await sftp.posix_rename(f"{dir}/a", f"{dir}/b")
        await sftp.put(local / "head", f"{dir}/r")
        async with sftp.open(f"{dir}/r", "ab") as file:
            await file.write((local / "tail").read_bytes())
        await sftp.chmod(f"{dir}/b", 0o640)
        await sftp.get(f"{dir}/b", local / "down", block_size=4096, max_requests=256)
        return "\n".join(map(str, await sftp.listdir(dir)))


def jsch(desk: Desk) -> str:
    phase = "FIRST" if desk.first else "LAST"
    program = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(JSCH), str(HERE / "Matrix.java"))
    return desk.run(*program, str(desk.port), desk.user, phase, str(desk.local), desk.remote)


def ssh2_sftp_client(desk: Desk) -> str:
    if not (MODULES / "node_modules" / "ssh2-sftp-client").exists():
        MODULES.mkdir(parents=True, exist_ok=True)
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional")
        desk.run("npm", "install", "--prefix", str(MODULES), *flags, "ssh2-sftp-client@12")
    phase = "FIRST" if desk.first else "LAST"
    program = ("node", str(HERE / "matrix.mjs"), str(MODULES))
    return desk.run(*program, str(desk.port), desk.user, phase, str(desk.local), desk.remote)


def sshfs(desk: Desk) -> str:
    mount = desk.local / f"mount-{desk.first}"
    mount.mkdir()
    ssh = ("-F", "/dev/null", "-o", f"UserKnownHostsFile={desk.suite.ready['partner']['known_hosts']}")
    options: tuple[str, ...] = ("-p", str(desk.port), "-o", "password_stdin", "-o", "PreferredAuthentications=password")
    desk.run(
        "sshfs", *options, *ssh, f"{desk.user}@127.0.0.1:", str(mount), text=desk.password + "\n"
    )  # fmt: skip
    dir = mount / desk.remote
    try:
        if not desk.first:
            (dir / "b").unlink()
            (dir / "r").unlink()
            dir.rmdir()
            return ""
        dir.mkdir()
        shutil.copyfile(desk.local / "up", dir / "a")
        (dir / "a").rename(dir / "b")
        shutil.copyfile(desk.local / "head", dir / "r")
        with (dir / "r").open("ab") as file:
            file.write((desk.local / "tail").read_bytes())
        (dir / "b").chmod(0o640)
        shutil.copyfile(dir / "b", desk.local / "down")
        return "\n".join(path.name for path in dir.iterdir())
    finally:
        desk.run("fusermount3", "-u", str(mount))


def _needs(what: str, there: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.skipif(not there, reason=f"needs {what}")]


CLIENTS: list[tuple[Callable[[Desk], str], bool, str]] = [
    (openssh, True, ""),
    (psftp, True, ""),
    (curl, shutil.which("curl") is not None, "curl"),
    (in_paramiko, True, ""),
    (in_asyncssh, True, ""),
    (jsch, JSCH.exists() and shutil.which("javac") is not None, "libjsch-java and default-jdk-headless"),
    (ssh2_sftp_client, shutil.which("npm") is not None, "npm"),
    (sshfs, shutil.which("sshfs") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK), "sshfs and /dev/fuse"),
]


@pytest.mark.parametrize(
    "client",
    [pytest.param(client, id=client.__name__, marks=_needs(what, there)) for client, there, what in CLIENTS],
)
def test_everyday_work(matrix: Suite, tmp_path: Path, client: Callable[[Desk], str]) -> None:
    digest = random_file(tmp_path / "up", SIZE)
    data = (tmp_path / "up").read_bytes()
    (tmp_path / "head").write_bytes(data[:HEAD])
    (tmp_path / "tail").write_bytes(data[HEAD:])
    remote = f"matrix-{client.__name__}"
    before = len(matrix.audit())

    listed = client(Desk(matrix, tmp_path, remote, first=True))
    there = matrix.files / remote
    assert {path.name for path in there.iterdir()} == {"b", "r"}
    assert sha256(there / "b") == sha256(there / "r") == sha256(tmp_path / "down") == digest
    assert (there / "b").stat().st_mode & 0o777 == 0o640
    names = [line.split()[-1] for line in listed.splitlines() if line.split()]
    assert {Path(name).name for name in names} >= {"b", "r"}

    client(Desk(matrix, tmp_path, remote, first=False))
    assert not there.exists()
    assert [each for each in matrix.audit()[before:] if each.get("outcome") == "denied"] == []
