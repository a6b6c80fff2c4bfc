"""The demo's configuration, made through the REST API, and the proof that a partner can really log in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import asyncssh

from usp.demo.keys import Keys
from usp.demo.layout import LOOPBACK, Layout
from usp.errors import UspError

LISTENERS = ("partners", "passthrough")
PUSH_SECONDS = 30
LOGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """Where the servers log in, and as whom. `host_key`: one public line; `private_key`: the text of a key."""

    host: str
    port: int
    host_key: str
    username: str
    private_key: str


@dataclass
class Api:
    """A small client of the manager's REST API."""

    url: str
    token: str
    ca: str

    async def __aenter__(self) -> Api:
        context = ssl.create_default_context(cadata=self.ca)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST and return the answer. Raises internal with the API's own words when it refuses."""
        async with self._http.post(f"{self.url}/api/v1{path}", json=body) as response:
            text = await response.text()
            if response.status >= 400:
                raise UspError("internal", f"POST {path} was answered {response.status}: {text}")
            return await response.json() if text else None


async def api_token(url: str, ca: str, username: str, password: str) -> str:
    """Log in as an administrator and make an API token, which does not expire as the login does."""
    async with Api(url, "", ca) as anybody:
        login = await anybody.post("/login", {"username": username, "password": password})
    async with Api(url, login["token"], ca) as administrator:
        made: str = (await administrator.post("/tokens", {"name": "demo", "username": username}))["token"]
    return made


async def configure(
    api: Api, layout: Layout, keys: Keys, target: Target, *, partner: tuple[str, str], direct: bool
) -> None:
    """Make every item and push. `partner`: user name and password of the one Account."""

    async def make(kind: str, name: str, **fields: Any) -> None:
        await api.post(f"/items/{kind}", {"name": name, **fields})

    await make("ca-certificates", "ca", certificate=keys.ca)
    identity = keys.manager_identity
    await make("tls-certificates", "manager", certificate=identity.cert, private_key=identity.key)
    await make("private-keys", "host-key", private_key=keys.host_key.private)
    await make("public-keys", "target", public_key=target.host_key)
    await make("ip-filters", "everybody", default="allow")
    await make("outbound-nodes", "target", host=target.host, port=target.port, host_keys=["target"])
    await _configure_rules(make, keys, target, *partner)
    for listener in LISTENERS:
        await make("inbound-nodes", listener, ip_filter="everybody", host_keys=["host-key"], rule=listener)
        await make("routes", listener, inbound_nodes=[listener], outbound_nodes=["target"])
    for number, ports in enumerate(layout.servers, start=1):
        await _configure_server(make, number, ports, keys, target, direct=direct)
    for number in range(1, len(layout.servers) + 1):
        await api.post(f"/servers/usp-server-{number}/push?wait={PUSH_SECONDS}")


async def _configure_rules(make: Any, keys: Keys, target: Target, username: str, password: str) -> None:
    """Each listener has a rule of its own name."""
    await make(
        "rules", "passthrough", inbound_method="password", inbound_source="none", outbound_credentials="passthrough"
    )
    await make("private-keys", "gateway", private_key=target.private_key)
    await make("public-keys", "partner", public_key=keys.partner.public)
    await make("account-repositories", "partners")
    await make(
        "accounts",
        "partner",
        account_repository="partners",
        username=username,
        password=password,
        public_keys=["partner"],
    )
    await make(
        "rules",
        "partners",
        inbound_method="password_or_public_key",
        inbound_source="account_repository",
        account_repository="partners",
        outbound_credentials="dedicated",
        username=target.username,
        private_key="gateway",
    )


async def _configure_server(make: Any, number: int, ports: Any, keys: Keys, target: Target, *, direct: bool) -> None:
    server, tunnel, client = f"usp-server-{number}", f"tunnel-{number}", f"usp-client-{number}"
    path: dict[str, str] = {}
    await make(
        "proxy-servers", server, host=LOOPBACK, port=ports.management, ca_certificate="ca", tls_certificate="manager"
    )
    if not direct:
        await make("private-keys", tunnel, private_key=keys.tunnels[number - 1].private)
        await make("public-keys", client, public_key=keys.clients[number - 1].public)
        await make("tunnels", tunnel, proxy_server=server, address=LOOPBACK, port=ports.tunnel, private_key=tunnel)
        await make("proxy-clients", client, tunnel=tunnel, public_key=client)
        path = {"tunnel": tunnel, "proxy_client": client}
    # One port per listener on one machine: server k has its own set of listeners.
    suffix = "" if number == 1 else f"-{number}"
    for listener, port in zip(LISTENERS, (ports.partners, ports.passthrough), strict=True):
        fields = {"type": "sftp", "route": listener, "default_outbound_node": "target"}
        await make("listeners", listener + suffix, address=LOOPBACK, port=port, **fields)
        await make("deployments", f"{listener}-on-{server}", listener=listener + suffix, proxy_server=server, **path)
    fields = {"type": "tcp", "ip_filter": "everybody", "target_host": target.host}
    await make("listeners", "tcp" + suffix, address=LOOPBACK, port=ports.tcp, target_port=target.port, **fields)
    await make("deployments", f"tcp-on-{server}", listener="tcp" + suffix, proxy_server=server, **path)


async def prove(
    port: int, host_key: str, *, username: str, password: str | None = None, private_key: str | None = None
) -> None:
    """Log in as a partner and list the directory, until that works. Raises internal when it does not within 30 s."""
    known_hosts = asyncssh.import_known_hosts(f"[{LOOPBACK}]:{port} {host_key}\n")
    deadline = asyncio.get_running_loop().time() + LOGIN_SECONDS
    while True:
        try:
            async with (
                asyncssh.connect(
                    LOOPBACK,
                    port,
                    config=None,
                    username=username,
                    password=password,
                    known_hosts=known_hosts,
                    client_keys=[asyncssh.import_private_key(private_key)] if private_key else None,
                    agent_path=None,
                ) as connection,
                connection.start_sftp_client() as sftp,
            ):
                await sftp.listdir(".")
                return
        except (OSError, asyncssh.Error) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise UspError("internal", f"no partner can log in on port {port}: {error}") from error
        await asyncio.sleep(0.2)


async def prove_tcp(port: int) -> None:
    """Read the target's SSH identification through Direct Mode. Raises internal when there is none within 30 s."""
    said = b""
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            while not said.startswith(b"SSH-"):
                await asyncio.sleep(0.1 if said else 0)
                said = await _first_line(port) or b"(nothing)"
    except TimeoutError:
        raise UspError("internal", f"no SSH server answers on port {port}: {said!r}") from None


async def _first_line(port: int) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            return await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except OSError:
        return b""
