"""Targets that misbehave, each in a thread: one that is silent, one that never lets in, one that never says VERSION."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from tests.e2e.sshd import Sshd
from tests.e2e.suite import Suite


def host_key(suite: Suite) -> str:
    """The path of the key that the gateway has pinned."""
    lines = Sshd(suite).config.read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("HostKey ")]
    return found


@contextmanager
def in_a_thread(serve: Callable[[], Awaitable[Any]]) -> Iterator[int]:
    """The port of what `serve` returns: an object with `sockets`, or asyncssh's acceptor."""
    loop, over, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    port = 0

    async def run() -> None:
        nonlocal port
        server = await serve()
        port = server.get_port() if hasattr(server, "get_port") else server.sockets[0].getsockname()[1]
        up.set()
        await over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@contextmanager
def raw(answer: bytes, *, stays: bool) -> Iterator[int]:
    """Says this as soon as somebody connects, and then nothing; or it closes."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer)
            if stays:
                while await reader.read(1 << 16):
                    pass
        except OSError:
            pass
        finally:
            writer.close()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0)

    with in_a_thread(serve) as port:
        yield port


class _Open(asyncssh.SSHServer):
    """Lets in whoever comes, or nobody ever."""

    hangs = False

    def begin_auth(self, username: str) -> bool:
        return self.hangs

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        await asyncio.Event().wait()
        return False


class _Hanging(_Open):
    hangs = True


@contextmanager
def at_auth(key: str) -> Iterator[int]:
    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, config=None, server_factory=_Hanging, server_host_keys=[key], login_timeout=0
        )

    with in_a_thread(serve) as port:
        yield port


class _Silent(asyncssh.SSHServerSession[bytes]):
    def subsystem_requested(self, subsystem: str) -> bool:
        return True


class _SilentServer(_Open):
    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Silent()


@contextmanager
def at_init(key: str) -> Iterator[int]:
    """The subsystem is granted, and INIT never answered."""

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, config=None, server_factory=_SilentServer, server_host_keys=[key], encoding=None
        )

    with in_a_thread(serve) as port:
        yield port


@contextmanager
def nobody() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def with_another_key(suite: Suite, folder: Path) -> Iterator[int]:
    key = folder / "another_key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, config=None, server_factory=_Open, server_host_keys=[str(key)], sftp_factory=True
        )

    with in_a_thread(serve) as port:
        yield port
