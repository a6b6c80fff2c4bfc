"""The manager's half of the control API: what it says to usp-servers, over mutual TLS.

The server's certificate must carry `usp://server/NAME`; that is checked in the handshake, before a byte is sent,
because what is sent holds secrets. Connections are kept open and reused.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import Field, ValidationError
from yarl import URL

from usp import tls
from usp.chain import Link
from usp.diagnosis import LIMIT, MARGIN, Diagnosis, KeyScan, Probe
from usp.errors import CODES, UspError
from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.model import CaCertificate, Model, ProxyServer, Record, TlsCertificate
from usp.secret import REVEAL, Secret
from usp.snapshot import Snapshot
from usp.status import Ack, AckResult, Complaint, PenaltyStatus, Report, SessionStatus, Told

MAX_ANSWER: Final = 16 << 20


MAX_DIAGNOSES: Final = 8
"""Probes and scans at once. They take long, and connections to a server are shared with the pusher."""
REFUSALS: Final = frozenset({404, 503})
BOOT: Final = "USP-Boot"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class _Sessions(Model):
    sessions: tuple[SessionStatus, ...]


class _Penalties(Model):
    penalties: tuple[PenaltyStatus, ...]


class _Unreadable(Told):
    code: Literal["request.invalid"]
    problems: tuple[Complaint, ...] = Field(min_length=1)


M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a server is reached. Equal endpoints share connections."""

    name: str
    host: str
    port: int
    ca: str
    certificate: str
    private_key: Secret

    @classmethod
    def of(cls, catalog: Catalog, record: Record) -> Endpoint:
        server = item_of(ProxyServer, record)
        ca = item_of(CaCertificate, catalog.records[server.ca_certificate])
        own = item_of(TlsCertificate, catalog.records[server.tls_certificate])
        return cls(server.name, server.host, server.port, ca.certificate, own.certificate, own.private_key)


class Controls:
    """Connections to all servers. What goes wrong is server.unreachable, server.identity, or key.unusable."""

    def __init__(self, timeout: float) -> None:
        self._patience = timeout
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 5.0))
        self._clients: dict[str, tuple[Endpoint, aiohttp.ClientSession]] = {}
        self._diagnosing = asyncio.Semaphore(MAX_DIAGNOSES)

    async def close(self) -> None:
        clients = [client for _, client in self._clients.values()]
        self._clients.clear()
        for client in clients:
            await client.close()

    async def status(self, endpoint: Endpoint) -> Report:
        return self._parsed(Report, await self._ask(endpoint, "GET", "/v1/status"))

    async def put(self, endpoint: Endpoint, snapshot: Snapshot, boot: str = "") -> Ack:
        """The server's answer, also when it refuses. `boot`: only if it is still in the life that it was seen in."""
        answer = await self._ask(
            endpoint, "PUT", "/v1/snapshot", snapshot.to_wire(), refusals={400, 409}, headers={BOOT: boot}
        )
        return _unreadable(answer) or self._parsed(Ack, answer)

    async def run(self, endpoint: Endpoint, path: str, id: str, *, start: bool) -> bool:
        """Whether the server did it; its report tells why not. `path`: listeners or tunnels."""
        verb = "start" if start else "stop"
        return not await self._ask(endpoint, "POST", f"/v1/{path}/{id}/{verb}", refusals={404, 409})

    async def drain(self, endpoint: Endpoint, *, drained: bool) -> bool:
        """Whether the server did it. (One of an older release cannot.)"""
        verb = "drain" if drained else "undrain"
        return not await self._ask(endpoint, "POST", f"/v1/{verb}", refusals={404})

    async def events(self, endpoint: Endpoint, stored: Link, patience: float) -> list[bytes]:
        """Audit lines that are not stored yet; none after `patience` seconds, or from a server of an older release."""
        path = f"/v1/events?chain={stored.chain}&after={stored.seq}&wait={patience:g}"
        answer = await self._ask(endpoint, "GET", path, refusals={404}, timeout=patience + self._patience)
        return [] if _refusal(answer) or not answer.startswith(b"{") else answer.split(b"\n")

    async def sessions(self, endpoint: Endpoint) -> tuple[SessionStatus, ...]:
        return self._parsed(_Sessions, await self._ask(endpoint, "GET", "/v1/sessions")).sessions

    async def kill(self, endpoint: Endpoint, session: str) -> None:
        await self._ask(endpoint, "DELETE", f"/v1/sessions/{session}", refusals={404})

    async def penalties(self, endpoint: Endpoint) -> tuple[PenaltyStatus, ...]:
        return self._parsed(_Penalties, await self._ask(endpoint, "GET", "/v1/ledger")).penalties

    async def release(self, endpoint: Endpoint, key: str) -> None:
        """UspError penalty.unknown when nothing is held against it."""
        refusal = _refusal(await self._ask(endpoint, "DELETE", f"/v1/ledger/{quote(key, safe='')}", refusals={404}))
        if refusal is not None:
            raise refusal

    async def probe(self, endpoint: Endpoint, ask: Probe) -> Diagnosis:
        """What the server found on a listener's way to its target; it may refuse with a code of its own."""
        return await self._diagnosis(endpoint, "/v1/probe", ask)

    async def scan(self, endpoint: Endpoint, task: KeyScan) -> Diagnosis:
        """Which host keys a target shows to the server."""
        return await self._diagnosis(endpoint, "/v1/scan-host-key", task)

    async def _diagnosis(self, endpoint: Endpoint, path: str, ask: Probe | KeyScan) -> Diagnosis:
        body = ask.model_dump_json(context=REVEAL, exclude_defaults=True).encode()  # an older server takes it, too
        async with self._diagnosing:
            answer = await self._ask(endpoint, "POST", path, body, REFUSALS, timeout=LIMIT + 2 * MARGIN)
        refusal = _refusal(answer)
        if refusal is not None:
            raise refusal
        return self._parsed(Diagnosis, answer)

    async def _client(self, endpoint: Endpoint) -> aiohttp.ClientSession:
        known = self._clients.get(endpoint.name)
        if known is not None and known[0] == endpoint:
            return known[1]
        context = tls.client_context(
            endpoint.ca,
            endpoint.certificate,
            endpoint.private_key.reveal(),
            peer=tls.server_uri(endpoint.name),
        )
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=MAX_DIAGNOSES + 4, keepalive_timeout=60),
            timeout=self._timeout,
            trust_env=False,
        )
        self._clients[endpoint.name] = (endpoint, client)
        if known is not None:
            await known[1].close()
        return client

    async def _ask(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: bytes | None = None,
        refusals: set[int] | frozenset[int] = frozenset(),
        timeout: float = 0.0,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> bytes:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        try:
            client = await self._client(endpoint)
            async with client.request(
                method,
                URL(f"https://{host}:{endpoint.port}{path}", encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout, connect=5.0) if timeout else self._timeout,
            ) as response:
                answer = await _bounded(response)
                if response.status >= 300 and response.status not in refusals:
                    raise UspError(
                        "server.unreachable",
                        f"it answered {response.status}: {answer[:300].decode('utf-8', 'replace')}",
                    )
                return answer
        except aiohttp.ClientConnectorCertificateError as error:
            raise UspError("server.identity", _why(error.certificate_error)) from None
        except TimeoutError:
            raise UspError("server.unreachable", "it does not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UspError("server.unreachable", _why(error)) from None

    def _parsed(self, model: type[M], answer: bytes) -> M:
        try:
            return model.model_validate_json(answer)
        except ValidationError:
            raise UspError("server.unreachable", "its answer is not understood: is it another release?") from None


def _unreadable(answer: bytes) -> Ack | None:
    """The refusal of a server that does not know a field of the snapshot: one of an older release."""
    try:
        found = _Unreadable.model_validate_json(answer)
    except ValidationError:
        return None
    message = "the server does not understand it: is it of an older release?"
    return Ack(
        result=AckResult.REJECTED, version=0, digest="", code="push.rejected", message=message, problems=found.problems
    )


def _refusal(answer: bytes) -> UspError | None:
    """The server's own words, when the answer is one of its refusals."""
    try:
        told = json.loads(answer)
    except ValueError:
        return None
    if isinstance(told, dict) and told.get("code") in CODES:
        return UspError(told["code"], str(told.get("message", "")))
    return None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > MAX_ANSWER:
            raise UspError("server.unreachable", "its answer is too large")
    return bytes(answer)


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLCertVerificationError):
        return getattr(error, "verify_message", "") or str(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno).lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
