"""Worker side: tries the way to a target hop by hop, as a session would go it, and says where it ends and why.

It makes up to three connections. The first reads what the target says before any key (RFC 4253, 4.2 and 7.1), the
second ends with the key exchange, the third logs in; that one is made only when it was asked for and the host key is a
pinned one. The target sees no user name and no failed login from the first two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncssh

from usp.algorithms import Algorithms
from usp.diagnosis import LIMIT, Diagnosis, Hop, HopName, HostKey, KeyScan, Login, PathProbe, Task
from usp.errors import UspError
from usp.server import outbound
from usp.server.outbound import Target
from usp.server.proxy import LOCAL
from usp.server.tunnels import Link
from usp.snapshot import TargetSpec
from usp.ssh import connect, keys
from usp.ssh.failures import said, target_failure
from usp.ssh.kexinit import Greeting, Offer, agreement
from usp.ssh.options import SIGNATURES, VERSION, Timing, scanning, target_facing

_PIECE: Final = 4096
_IDENTIFICATION: Final = f"SSH-2.0-{VERSION}\r\n".encode()
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")


class _StoppedError(Exception):
    """The hop that failed is noted; there is nothing behind it to be tried."""


@dataclass
class _Note:
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Wire:
    """A plain connection to the target. `peer`: its address, if it was made here."""

    reader: Any
    writer: Any
    peer: str = ""

    async def read(self) -> bytes:
        data: bytes = await self.reader.read(_PIECE)
        if not data:
            raise UspError("target.refused", "it closed the connection")
        return data

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def abort(self) -> None:
        (self.writer.transport if self.peer else self.writer.channel).abort()


async def diagnose(task: Task, link: Link | None, timeout: float) -> Diagnosis:
    """Within `timeout` seconds for each hop and `LIMIT` for all. `link`: that of the task's path, if it is up."""
    attempt = _Attempt(task, link, timeout)
    try:
        await attempt.run()
    except _StoppedError:
        return Diagnosis(ok=False, hops=tuple(attempt.hops), host_keys=tuple(attempt.host_keys))
    return Diagnosis(ok=True, hops=tuple(attempt.hops), host_keys=tuple(attempt.host_keys))


class _Attempt:
    def __init__(self, task: Task, link: Link | None, timeout: float) -> None:
        self.hops: list[Hop] = []
        self.host_keys: list[HostKey] = []
        self._task = task
        self._link = link
        self._timeout = timeout
        self._timing = Timing(timeout, 0)
        self._clock = asyncio.get_running_loop().time
        self._end = self._clock() + LIMIT
        self._header = LOCAL if task.send_proxy_v2 else b""
        self._silent = ""  # what to say when a hop's time is over

    async def run(self) -> None:
        if self._task.path is not None:
            await self._tunnel()
        match self._task:
            case PathProbe(target=None):
                (await self._connected()).abort()
            case PathProbe(target=TargetSpec() as target, login=login):
                await self._as_session(target, login)
            case KeyScan(algorithms=algorithms):
                await self._scan(algorithms)

    # --- the hops ---

    async def _tunnel(self) -> None:
        async with self._hop(HopName.TUNNEL) as hop:
            if self._link is None:
                assert self._task.path is not None
                raise UspError("tunnel.down", f"no live link of Proxy Client '{self._task.path.client}'")
            await connect.round_trip(self._link.connection)
            if self._link.lost:
                raise UspError("tunnel.down", "the tunnel link was lost")
            hop.detail = f"the link of Proxy Client '{self._link.client}' from {self._link.peer} answers"

    async def _as_session(self, target: TargetSpec, login: Login | None) -> None:
        options = target_facing(target.host_keys, target.algorithms, self._timing)
        offer = await self._greeting()
        await self._agreement(options, offer)
        await self._host_key(target, options, offer)
        if login is not None:
            await self._login(Target(target, options), login)

    async def _scan(self, algorithms: Algorithms) -> None:
        offer = await self._greeting()
        await self._agreement(scanning(SIGNATURES, algorithms, self._timing), offer)
        async with self._hop(HopName.HOST_KEY) as hop:
            left_out = []
            for types in _by_key(offer.host_keys):
                try:
                    self.host_keys.append(_shown(await self._key(types, algorithms)))
                except (UspError, OSError, asyncssh.Error) as error:
                    left_out.append(f"{types[0]}: {self._failure(error).message}")
            if not self.host_keys:
                offered = "; ".join(left_out) or f"it offers {', '.join(offer.host_keys)[:_PIECE]}"
                raise UspError("target.algorithms", f"no host key of a type that is accepted here: {offered}")
            hop.detail = "; ".join([*map(_named, self.host_keys), *left_out])

    async def _connected(self) -> _Wire:
        async with self._hop(HopName.CONNECT) as hop:
            wire = await _opened(self._task.host, self._task.port, self._link)
            wire.write(self._header)
            hop.detail = f"to {wire.peer}" if wire.peer else "by the Proxy Client"
        return wire

    async def _greeting(self) -> Offer:
        """Connect, and read until the target has said what it offers."""
        wire = await self._connected()
        greeting = Greeting()
        try:
            async with self._hop(HopName.IDENTIFICATION) as hop:
                try:
                    while not greeting.identification:
                        greeting.feed(await wire.read())
                    wire.write(_IDENTIFICATION)
                    while greeting.offer is None:
                        greeting.feed(await wire.read())
                except asyncio.CancelledError:  # the hop's time is over
                    self._silent = _unfinished(greeting)
                    raise
                hop.detail = greeting.identification
        finally:
            wire.abort()
        assert greeting.offer is not None
        return greeting.offer

    async def _agreement(self, options: asyncssh.SSHClientConnectionOptions, offer: Offer) -> None:
        async with self._hop(HopName.ALGORITHMS) as hop:
            hop.detail = agreement(_ours(options), offer)

    async def _host_key(self, target: TargetSpec, options: asyncssh.SSHClientConnectionOptions, offer: Offer) -> None:
        async with self._hop(HopName.HOST_KEY) as hop:
            permitted = _ours(options).host_keys
            types = permitted if set(permitted) & set(offer.host_keys) else SIGNATURES
            shown = _shown(await self._key(types, target.algorithms), target.host_keys)
            self.host_keys.append(shown)
            if not shown.pinned:
                pinned = ", ".join(keys.fingerprint(keys.parse_public(line)) for line in target.host_keys)
                raise UspError("target.host_key_mismatch", f"it shows {_named(shown)}; pinned: {pinned}")
            hop.detail = f"{_named(shown)} is pinned"

    async def _login(self, target: Target, login: Login) -> None:
        async with self._hop(HopName.LOGIN) as hop:
            pairs = keys.pairs([keys.parse_private(login.private_key)]) if login.private_key else ()
            shown = connect.Login(login.username, login.password, pairs)
            connection = await outbound.dial(target, shown, self._link, lambda error: None, self._left())
            hop.detail = f"as '{login.username}'"
        try:
            async with self._hop(HopName.SFTP) as hop:
                hop.detail = await _sftp(connection)
        finally:
            connection.abort()
            await connection.wait_closed()

    # --- their parts ---

    async def _key(self, types: Sequence[str], algorithms: Algorithms) -> asyncssh.SSHKey:
        options = scanning(types, algorithms, self._timing)
        link = self._link.connection if self._link else None
        return await connect.host_key(
            self._task.host, self._task.port, options, connect_timeout=self._left(), link=link, header=self._header
        )

    @asynccontextmanager
    async def _hop(self, name: HopName) -> AsyncIterator[_Note]:
        """Notes how the hop went; nothing is tried behind one that failed."""
        hop, began = _Note(), time.perf_counter()
        failure: UspError | None = None
        try:
            async with asyncio.timeout(self._left()):
                yield hop
        except TimeoutError as error:
            failure = UspError("target.unreachable", self._silent) if self._silent else self._failure(error)
        except (UspError, OSError, asyncssh.Error) as error:
            failure = self._failure(error)
        ms = round((time.perf_counter() - began) * 1000, 1)
        if failure is None:
            self.hops.append(Hop(name=name, ok=True, ms=ms, detail=hop.detail))
            return
        self.hops.append(Hop(name=name, ok=False, ms=ms, detail=failure.message, code=failure.code))
        raise _StoppedError

    def _failure(self, error: BaseException) -> UspError:
        return target_failure(error, link_lost=self._link is not None and self._link.lost)

    def _left(self) -> float:
        return max(0.0, min(self._timeout, self._end - self._clock()))


async def _opened(host: str, port: int, link: Link | None) -> _Wire:
    if link is not None:
        return _Wire(*await link.connection.open_connection(host, port, encoding=None))
    reader, writer = await asyncio.open_connection(host, port)
    address, at = writer.get_extra_info("peername")[:2]
    return _Wire(reader, writer, f"[{address}]:{at}" if ":" in address else f"{address}:{at}")


async def _sftp(connection: connect.ClientConnection) -> str:
    """Start the subsystem and leave it again."""
    try:
        client = await connection.start_sftp_client()
    except asyncssh.Error as error:
        raise UspError("target.no_sftp", said(error)) from None
    client.exit()
    await client.wait_closed()
    return f"SFTP version {client.version}"


def _unfinished(greeting: Greeting) -> str:
    if greeting.identification:
        return f"it says {greeting.identification}, and then nothing more"
    return f"it says '{greeting.preface}', which is not SSH" if greeting.preface else "it accepts, but says nothing"


def _ours(options: asyncssh.SSHClientConnectionOptions) -> Offer:
    def names(algorithms: Any) -> tuple[str, ...]:
        return tuple(name.decode("ascii") if isinstance(name, bytes) else name for name in algorithms)

    return Offer(
        names(options.kex_algs),
        names(options.server_host_key_algs),
        names(options.encryption_algs),
        names(options.mac_algs),
    )


def _by_key(offered: Sequence[str]) -> list[tuple[str, ...]]:
    """The signature algorithms that are offered and accepted here, those of one key together."""
    rsa = tuple(name for name in _RSA if name in offered)
    others: list[tuple[str, ...]] = [(name,) for name in SIGNATURES if name in offered and name not in _RSA]
    return [*others, rsa] if rsa else others


def _shown(key: asyncssh.SSHKey, pinned: Sequence[str] = ()) -> HostKey:
    line = keys.public_line(key)
    found = keys.facts(keys.parse_public(line))  # refuses what cannot be pinned
    known = any(keys.same(keys.parse_public(pin), key) for pin in pinned)
    return HostKey(
        type=str(found["type"]),
        bits=int(found["bits"]),
        fingerprint=str(found["fingerprint"]),
        line=line,
        pinned=known,
    )


def _named(key: HostKey) -> str:
    return f"{key.type} {key.fingerprint}"
