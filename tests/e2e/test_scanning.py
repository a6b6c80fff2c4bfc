"""Uploads are scanned before they appear: a real ICAP server behind the tunnel, OpenSSH and asyncssh as partners."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.e2e.scanners import EICAR, THREAT, Scanner, needed, scanner
from tests.e2e.suite import Suite, random_file, sha256, wait_until

pytestmark = [pytest.mark.e2e, needed]

MIB = 1 << 20
BIG = int(os.environ.get("USP_TEST_SCAN_MIB", "48")) * MIB
"""Of the large file; USP_TEST_SCAN_MIB=1024 for a GiB."""

Configure = Callable[..., None]


@pytest.fixture(scope="module")
def real(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanner]:
    """A scanner that the Proxy Client may reach."""
    config = suite.dir / "etc" / "usp-client-1.hcl"
    before = config.read_text()
    with scanner(tmp_path_factory.mktemp("scanner"), suite.port(60)) as made:
        with suite.restartable("clients") as client:
            client.kill()
            config.write_text(before.replace("allow = [", f'allow = ["127.0.0.1:{made.port}", '))
            client.start()
            suite.wait_for_login(30)
        yield made
        with suite.restartable("clients") as client:
            client.kill()
            config.write_text(before)
            client.start()
            suite.wait_for_login(30)


@pytest.fixture(scope="module")
def scanned(suite: Suite, real: Scanner) -> Iterator[Configure]:
    """Give the partners' Rule a scan and push it; at the end all is as it was."""

    def put(**scan: Any) -> None:
        rule = suite.api("GET", "/items/rules/partners")
        suite.api("PUT", "/items/rules/partners", {**rule, "scan": {"url": real.url(), **scan}})
        suite.api("POST", "/servers/usp-server-1/push?wait=10")

    with suite.restored():
        yield put


@pytest.fixture(autouse=True)
def swept(suite: Suite) -> Iterator[None]:
    """No test leaves a temporary file at the target; what else it leaves is removed."""
    before = set(suite.files.iterdir())
    yield
    left = set(suite.files.iterdir()) - before
    for path in left:
        path.unlink()
    assert not [path.name for path in left if path.name.startswith(".usp-")]


def heard(suite: Suite, name: str, *expected: tuple[str, str]) -> None:
    """These verdicts, and what they led to, are told of that name, in the end."""

    def told() -> list[tuple[str, str]]:
        scans = [each for each in suite.audit("file.scanned") if Path(each["path"]).name == name]
        return [(each["verdict"], each["outcome"]) for each in scans]

    wait_until(lambda: len(told()) >= len(expected), 5, f"{name}: {expected}")
    assert told() == list(expected)


def connected(suite: Suite) -> Any:
    partner = suite.ready["partner"]
    return asyncssh.connect(
        partner["host"], partner["port"], username=partner["username"], password=partner["password"],
        known_hosts=partner["known_hosts"], config=None, client_keys=None,
    )  # fmt: skip


def test_what_is_infected_never_appears(suite: Suite, scanned: Configure, tmp_path: Path) -> None:
    scanned()
    (suite.files / "old").write_text("as it was")
    (tmp_path / "eicar").write_bytes(EICAR)
    (tmp_path / "large").write_bytes(os.urandom(300_000) + EICAR + os.urandom(300_000))
    done = suite.sftp("".join(f"-put {tmp_path}/{what}\n" for what in ("eicar", "eicar old", "large")) + "ls -a\n")
    assert done.stderr.count("ermission denied") == 3, done.stderr
    assert ".usp-" not in done.stdout
    assert {path.name for path in suite.files.iterdir()} & {"eicar", "large", "old"} == {"old"}
    assert (suite.files / "old").read_text() == "as it was"
    heard(suite, "eicar", ("infected", "denied"))
    heard(suite, "large", ("infected", "denied"))
    assert suite.audit("file.scanned")[-1]["text"] == THREAT
    closed = [each for each in suite.audit("file.closed") if each["path"].endswith("/eicar")]
    assert [each["outcome"] for each in closed] == ["failed"]


def test_what_is_clean_gets_its_name(suite: Suite, scanned: Configure, tmp_path: Path) -> None:
    scanned()
    (suite.files / "twice").write_text("old")
    (suite.files / "twice").chmod(0o600)
    digest = random_file(tmp_path / "up", 3_000_000)
    (tmp_path / "none").write_bytes(b"")
    os.utime(tmp_path / "up", (1_600_000_000, 1_600_000_000))
    done = suite.sftp(
        f"put -p {tmp_path}/up once\nput {tmp_path}/up twice\nput {tmp_path}/none\nget once {tmp_path}/back\n"
    )
    assert done.returncode == 0, done.stderr
    for name in ("once", "twice"):
        assert sha256(suite.files / name) == digest
        heard(suite, name, ("clean", "ok"))
    assert sha256(tmp_path / "back") == digest
    assert (suite.files / "once").stat().st_mtime == 1_600_000_000
    assert (suite.files / "twice").stat().st_mode & 0o777 == 0o600, "as it was, so that no more may read it than before"
    assert (suite.files / "none").read_bytes() == b""


def test_while_it_is_on_its_way(suite: Suite, scanned: Configure) -> None:
    """Only its own partner sees it, by its name; who breaks off leaves nothing."""
    scanned()

    async def play() -> None:
        async with connected(suite) as connection, connection.start_sftp_client() as sftp:
            file = await sftp.open("half", "wb")
            await file.write(b"x" * 100_000)
            (temporary,) = [path for path in suite.files.iterdir() if path.name.startswith(".usp-scan-")]
            assert (await sftp.stat("half")).size == 100_000
            assert not [name for name in await sftp.listdir(".") if "usp" in str(name)]
            for ask in (sftp.stat, sftp.remove, sftp.readlink):
                with pytest.raises(asyncssh.SFTPNoSuchFile):
                    await ask(temporary.name)
            assert not (suite.files / "half").exists()
            connection.abort()

    asyncio.run(play())
    wait_until(lambda: not [path for path in suite.files.iterdir() if "usp" in path.name], 10, "it is removed")
    assert not (suite.files / "half").exists()


def test_in_any_order(suite: Suite, scanned: Configure) -> None:
    """What was not sent from the beginning to the end is read back, and scanned as it is."""
    scanned()

    async def play() -> None:
        async with connected(suite) as connection, connection.start_sftp_client() as sftp:
            file = await sftp.open("back", "wb")
            await file.write(EICAR[30:], 30)
            await file.write(b"?" * 30, 0)
            await file.write(EICAR[:30], 0)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await file.close()
            noise = os.urandom(200_000)
            file = await sftp.open("good", "wb")
            await file.write(noise, 0)
            await file.write(noise[:1000], 199_000)
            await file.close()
            assert (suite.files / "good").read_bytes() == noise[:199_000] + noise[:1000]
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.open("good", "ab")

    asyncio.run(play())
    assert not (suite.files / "back").exists()
    heard(suite, "back", ("infected", "denied"))
    heard(suite, "good", ("clean", "ok"))


def test_without_a_scanner(suite: Suite, scanned: Configure, real: Scanner, tmp_path: Path) -> None:
    """Nothing passes, unless the Rule says so; what is excluded passes, what is too large does not."""
    random_file(tmp_path / "up", 200_000)
    asked = real.asked()
    away = "icap://127.0.0.1:1/avscan"
    scanned(url=away, exclude=["*.CSV"], max_size=100_000)
    done = suite.sftp(f"-put {tmp_path}/up up\n-put {tmp_path}/up up.csv\n")
    assert sorted(path.name for path in suite.files.glob("up*")) == ["up.csv"], done.stderr
    heard(suite, "up", ("too_large", "denied"))
    heard(suite, "up.csv", ("excluded", "ok"))
    scanned(url=away)
    suite.sftp(f"-put {tmp_path}/up up\n")
    assert not (suite.files / "up").exists()
    scanned(url=away, on_failure="allow")
    assert suite.sftp(f"put {tmp_path}/up up\n").returncode == 0
    assert sha256(suite.files / "up") == sha256(tmp_path / "up")
    heard(suite, "up", ("too_large", "denied"), ("failed", "denied"), ("failed", "ok"))
    assert real.asked() == asked


def test_a_large_file_takes_no_memory(suite: Suite, scanned: Configure, tmp_path: Path) -> None:
    scanned()
    digest = random_file(tmp_path / "big", BIG)
    before = max(map(memory, suite.workers()))
    done = suite.sftp(f"put {tmp_path}/big\n", timeout=600)
    assert done.returncode == 0, done.stderr
    assert sha256(suite.files / "big") == digest
    heard(suite, "big", ("clean", "ok"))
    grown = max(map(memory, suite.workers())) - before
    print(f"{BIG // MIB} MiB scanned: the worker's peak grew by {grown // 1024} MiB")
    assert grown < 32 * 1024


def memory(pid: int) -> int:
    """The most that a process has used so far, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
