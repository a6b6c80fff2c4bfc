"""Real targets that are well, down, silent, somebody else's, or ill-matched, tried hop by hop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.tunnel_pair import client, gate, until
from tests.tunnel_pair import target as tcp_target
from tests.unit.server.balancer import balancer
from tests.unit.server.gateway import OTHER_LINE, PASSWORD, TARGET_LINE, USER, Target
from tests.unit.server.support import free_port
from usp.algorithms import Algorithms
from usp.diagnosis import Diagnosis, HopName, KeyScan, Login, PathProbe, Task
from usp.secret import Secret
from usp.server import probe
from usp.server.tunnels import Link
from usp.snapshot import PathSpec, TargetSpec
from usp.ssh import keys

LOGIN = Login(username=USER, password=Secret(PASSWORD))
PATH = PathSpec(tunnel="t1", client="client-1")
RSA, RSA_LINE = keys.generate("ssh-rsa")
ECDSA, ECDSA_LINE = keys.generate("ecdsa-sha2-nistp256")
WEAK = Secret(asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_private_key().decode())
BEFORE_LOGIN = ["connect", "identification", "algorithms", "host_key"]


def way(port: int, *pins: str, login: Login | None = None, **other: Any) -> PathProbe:
    spec = TargetSpec(
        id="o1",
        name="target",
        host="127.0.0.1",
        port=port,
        host_keys=pins or (TARGET_LINE,),
        algorithms=other.pop("algorithms", Algorithms()),
    )
    return PathProbe(host="127.0.0.1", port=port, target=spec, login=login, **other)


async def tried(task: Task, link: Link | None = None, timeout: float = 2.0) -> Diagnosis:
    found = await probe.diagnose(task, link, timeout)
    assert found.ok is all(hop.ok for hop in found.hops)
    assert all(hop.ok == (hop.code == "") and hop.ms >= 0 for hop in found.hops)
    return found


def names(found: Diagnosis) -> list[str]:
    return [str(hop.name) for hop in found.hops]


@pytest.mark.parametrize("linked", [False, True])
async def test_who_expects_a_header_is_told_that_nobody_is_behind_a_probe(linked: bool, target: Target) -> None:
    async with balancer(target.port) as front, gate() as tunnel, client(tunnel.port):
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        link, path = (tunnel.link(), PATH) if linked else (None, None)
        task = way(front.port, login=LOGIN, path=path, send_proxy_v2=True)
        assert task.target is not None
        found = await tried(task.model_copy(update={"target": announcing(task.target)}), link)
        assert found.ok, found
        assert (front.sources, front.wrong) == ([None] * 3, [])
        found = await tried(KeyScan(host="127.0.0.1", port=front.port, path=path, send_proxy_v2=True), link)
        assert [key.line.split()[:2] for key in found.host_keys] == [TARGET_LINE.split()[:2]]
        found = await tried(PathProbe(host="127.0.0.1", port=front.port, path=path, send_proxy_v2=True), link)
        assert found.ok
        await until(lambda: len(front.sources) == 6)
    assert (set(front.sources), front.wrong) == ({None}, [])


def announcing(target: TargetSpec) -> TargetSpec:
    return target.model_copy(update={"send_proxy_v2": True})


@asynccontextmanager
async def ssh_server(*private: Secret, **options: Any) -> AsyncIterator[int]:
    acceptor = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        config=None,
        server_host_keys=[asyncssh.import_private_key(key.reveal()) for key in private],
        **options,
    )
    yield acceptor.get_port()
    acceptor.close()
    await acceptor.wait_closed()


@asynccontextmanager
async def saying(text: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await reader.read()

    async with tcp_target(serve) as port:
        yield port


async def test_a_target_that_is_well(target: Target) -> None:
    found = await tried(way(target.port, login=LOGIN))
    assert found.ok
    assert names(found) == [*BEFORE_LOGIN, "login", "sftp"]
    details = {hop.name: hop.detail for hop in found.hops}
    assert details[HopName.CONNECT] == f"to 127.0.0.1:{target.port}"
    assert details[HopName.IDENTIFICATION].startswith("SSH-2.0-AsyncSSH")
    assert "cipher aes128-gcm@openssh.com" in details[HopName.ALGORITHMS]
    assert details[HopName.LOGIN] == f"as '{USER}'"
    assert details[HopName.SFTP] == "SFTP version 3"
    (key,) = found.host_keys
    assert key.pinned
    assert (key.type, key.line) == ("ssh-ed25519", TARGET_LINE)
    assert key.fingerprint in details[HopName.HOST_KEY]


async def test_nobody_logs_in_unless_asked_to(target: Target) -> None:
    found = await tried(way(target.port))
    assert found.ok
    assert names(found) == BEFORE_LOGIN
    assert target.logins == 0


async def test_a_target_that_is_down() -> None:
    found = await tried(way(free_port(), login=LOGIN))
    assert [(hop.name, hop.code) for hop in found.hops] == [("connect", "target.unreachable")]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"", "target.unreachable", "it accepts, but says nothing"),
        (b"220 ready\r\n", "target.unreachable", "it says '220 ready', which is not SSH"),
        (b"SSH-2.0-slow\r\n", "target.unreachable", "it says SSH-2.0-slow, and then nothing more"),
        (b"SSH-1.5-old\r\n", "target.refused", "another SSH than 2.0: SSH-1.5-old"),
    ],
)
async def test_a_banner_that_is_none(text: bytes, code: str, words: str) -> None:
    async with saying(text) as port:
        found = await tried(way(port, login=LOGIN), timeout=0.2)
    assert names(found) == ["connect", "identification"]
    assert found.hops[-1].code == code
    assert words in found.hops[-1].detail


async def test_a_target_that_closes_at_once() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with tcp_target(serve) as port:
        found = await tried(way(port))
    assert (found.hops[-1].name, found.hops[-1].code) == ("identification", "target.refused")


async def test_another_key_than_the_pinned_one_ends_before_the_login(target: Target) -> None:
    found = await tried(way(target.port, OTHER_LINE, login=LOGIN))
    assert names(found) == BEFORE_LOGIN
    assert found.hops[-1].code == "target.host_key_mismatch"
    assert target.logins == 0
    (key,) = found.host_keys
    assert not key.pinned
    assert key.line == TARGET_LINE
    pinned = keys.fingerprint(keys.parse_public(OTHER_LINE))
    assert key.fingerprint in found.hops[-1].detail
    assert f"pinned: {pinned}" in found.hops[-1].detail


async def test_a_pin_of_a_type_that_the_target_lacks_shows_the_key_that_it_has(target: Target) -> None:
    found = await tried(way(target.port, RSA_LINE))
    assert found.hops[-1].code == "target.host_key_mismatch"
    assert found.host_keys[0].line == TARGET_LINE


async def test_no_algorithm_in_common(target: Target) -> None:
    async with ssh_server(RSA, encryption_algs=["aes256-ctr"]) as port:
        task = way(port, RSA_LINE, algorithms=Algorithms(ciphers=("aes128-gcm@openssh.com",)))
        found = await tried(task)
    assert names(found) == ["connect", "identification", "algorithms"]
    assert found.hops[-1].code == "target.algorithms"
    assert "no cipher in common: it offers aes256-ctr" in found.hops[-1].detail


async def test_a_login_that_is_refused(target: Target) -> None:
    found = await tried(way(target.port, login=Login(username=USER, password=Secret("wrong"))))
    assert (found.hops[-1].name, found.hops[-1].code) == ("login", "target.auth_denied")
    assert "wrong" not in repr(found)


async def test_a_target_without_sftp(tmp_path: Path) -> None:
    made = Target(tmp_path)
    await made.start(sftp=False)
    found = await tried(way(made.port, login=LOGIN))
    assert (found.hops[-1].name, found.hops[-1].code) == ("sftp", "target.no_sftp")
    await made.stop()


async def test_direct_mode_connects_and_no_more() -> None:
    async with saying(b"") as port:
        found = await tried(PathProbe(host="127.0.0.1", port=port))
    assert found.ok
    assert names(found) == ["connect"]


# --- host keys ---


async def test_all_keys_that_a_target_has_one_per_type(target: Target) -> None:
    async with ssh_server(RSA, ECDSA) as port:
        found = await tried(KeyScan(host="127.0.0.1", port=port))
    assert names(found) == BEFORE_LOGIN
    assert [(key.type, key.bits) for key in found.host_keys] == [("ecdsa-sha2-nistp256", 256), ("ssh-rsa", 3072)]
    assert [key.line for key in found.host_keys] == [ECDSA_LINE, RSA_LINE]
    assert all(not key.pinned for key in found.host_keys)


async def test_keys_that_are_not_accepted_are_named() -> None:
    async with ssh_server(WEAK, ECDSA) as port:
        found = await tried(KeyScan(host="127.0.0.1", port=port))
    assert [key.line for key in found.host_keys] == [ECDSA_LINE]
    assert "1024 bits" in found.hops[-1].detail


async def test_a_target_without_any_key_for_us() -> None:
    async with ssh_server(WEAK) as port:
        found = await tried(KeyScan(host="127.0.0.1", port=port))
    assert (found.hops[-1].name, found.hops[-1].code) == ("host_key", "target.algorithms")
    assert "1024 bits" in found.hops[-1].detail
    assert found.host_keys == ()


# --- through a tunnel ---


async def test_without_a_link_the_tunnel_is_the_end() -> None:
    found = await tried(way(1, path=PATH))
    assert [(hop.name, hop.code) for hop in found.hops] == [("tunnel", "tunnel.down")]
    assert "client-1" in found.hops[0].detail


async def test_through_a_link(target: Target) -> None:
    async with gate() as made, client(made.port):
        await until(lambda: made.workers[0].get("t1", "client-1"))
        found = await tried(way(target.port, login=LOGIN, path=PATH), made.link())
        scanned = await tried(KeyScan(host="127.0.0.1", port=target.port, path=PATH), made.link())
    assert names(found) == ["tunnel", *BEFORE_LOGIN, "login", "sftp"]
    assert found.ok
    assert "client-1" in found.hops[0].detail
    assert found.hops[1].detail == "by the Proxy Client"
    assert [key.line for key in scanned.host_keys] == [TARGET_LINE]


async def test_the_allow_list_of_the_client_holds(target: Target) -> None:
    async with gate() as made, client(made.port, allow=("192.0.2.1:22",)):
        await until(lambda: made.workers[0].get("t1", "client-1"))
        found = await tried(KeyScan(host="127.0.0.1", port=target.port, path=PATH), made.link())
    assert [(hop.name, hop.code) for hop in found.hops] == [("tunnel", ""), ("connect", "tunnel.not_allowed")]


async def test_a_link_that_is_lost_meanwhile(target: Target) -> None:
    async with gate() as made, client(made.port):
        await until(lambda: made.workers[0].get("t1", "client-1"))
        link = made.link()
        link.end("stopped")
        found = await tried(way(target.port, path=PATH), link)
    assert [(hop.name, hop.code) for hop in found.hops] == [("tunnel", "tunnel.down")]
