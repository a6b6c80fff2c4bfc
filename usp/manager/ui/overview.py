"""All servers at a glance: what the Status page shows of each, from what is configured and what was last seen. Pure.

A row is a value that is equal as long as nothing changed that a reader would see, so that a live page sends only what
changed. How old a report is is told only once it is too old to be called live.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from usp.manager.catalog import Catalog
from usp.manager.diff import Due
from usp.manager.kinds import item_of
from usp.manager.reconcile import STARTABLE, STOPPABLE
from usp.manager.store.rows import RunState, Server
from usp.manager.ui.words import Chip, Tone, chip, of_tone
from usp.model import Deployment, ProxyClient, ProxyServer, Record, Tunnel
from usp.status import Intake, LinkState, ListenerStatus, Report, ServerState, TunnelStatus

LIVE_SECONDS: Final = 5.0
"""A report that is older is shown with its age."""


@dataclass(frozen=True, slots=True)
class Client:
    """A Proxy Client at its tunnel. `links`: how many are up, of so many workers."""

    name: str
    links: int
    slots: int
    chip: Chip
    about: str


@dataclass(frozen=True, slots=True)
class Port:
    """A listener or a tunnel of a server. `path` and `id` start and stop it."""

    path: str
    id: str
    name: str
    where: str
    about: str
    chip: Chip
    reason: str
    sessions: int
    startable: bool
    stoppable: bool
    clients: tuple[Client, ...] = ()

    @property
    def trouble(self) -> bool:
        return self.chip.tone is Tone.BAD or any(client.chip.tone is Tone.BAD for client in self.clients)


@dataclass(frozen=True, slots=True)
class Row:
    """A Proxy Server. `seen_at`: when it last answered, if that is no longer now; `due`: None until it is known."""

    id: str
    name: str
    where: str
    chip: Chip
    reason: str
    live: bool
    seen_at: datetime | None
    desired: int
    version: int
    software: str
    intake: Chip
    drained: bool
    sessions: int
    due: Due | None
    listeners: tuple[Port, ...]
    tunnels: tuple[Port, ...]

    @property
    def running(self) -> int:
        return sum(1 for port in self.listeners if port.chip.tone is Tone.OK)

    @property
    def links(self) -> int:
        return sum(client.links for tunnel in self.tunnels for client in tunnel.clients)

    @property
    def trouble(self) -> bool:
        """Whether something does not work: such a row is shown open."""
        return self.chip.tone is Tone.BAD or any(port.trouble for port in (*self.listeners, *self.tunnels))

    @property
    def mark(self) -> str:
        """The same on every manager as long as nothing changed that a reader would see."""
        return f"{zlib.crc32(repr(self).encode()):08x}"

    @property
    def words(self) -> str:
        """What it is found by."""
        ports = [*self.listeners, *self.tunnels]
        clients = [client.name for tunnel in self.tunnels for client in tunnel.clients]
        states = [self.chip.word, *(port.chip.word for port in ports)]
        if self.due is not None and self.due.changed:
            states.append("changes")
        found = [self.name, self.where, *(f"{port.name} {port.where}" for port in ports), *clients, *states]
        return " ".join(dict.fromkeys(found)).lower()


def row(catalog: Catalog, record: Record, server: Server, run_states: Mapping[str, RunState], due: Due | None) -> Row:
    item = item_of(ProxyServer, record)
    report, reached = server.report, server.state is not ServerState.UNREACHABLE
    live = reached and server.age is not None and server.age < LIVE_SECONDS
    if not item.enabled:
        shown, reason = of_tone(Tone.OFF, "disabled"), "It is disabled, so no manager talks to it."
    else:
        shown, reason = chip(server.state), server.reason or "No manager has spoken to it yet."
    return Row(
        id=record.id,
        name=item.name,
        where=f"{item.host}:{item.port}",
        chip=shown,
        reason=reason,
        live=live,
        seen_at=None if live else server.seen_at,
        desired=server.desired,
        version=report.version if report else 0,
        software=report.software if report else "",
        intake=chip(report.intake if report else Intake.OPEN),
        drained=run_states.get(record.id) is RunState.DRAINED,
        sessions=report.sessions if report and live else 0,
        due=due,
        listeners=tuple(_listeners(catalog, report, live)),
        tunnels=tuple(_tunnels(catalog, report, live)),
    )


def _listeners(catalog: Catalog, report: Report | None, live: bool) -> Iterator[Port]:
    for status in sorted(report.listeners if report else (), key=lambda each: each.name):
        about = "TCP, passed through" if status.type == "tcp" else "SFTP"
        yield _port(Deployment.kind, status, live, about, sessions=status.sessions if live else 0)


def _tunnels(catalog: Catalog, report: Report | None, live: bool) -> Iterator[Port]:
    for status in sorted(report.tunnels if report else (), key=lambda each: each.name):
        assert report is not None
        slots = len(report.slots)
        expected = [
            record.item.name
            for record, _ in catalog.referrers(status.id)
            if record.kind == ProxyClient.kind and record.item.enabled
        ]
        names = sorted({*expected, *(link.client for link in status.links)})
        clients = tuple(_client(name, status, slots, live) for name in names)
        yield _port(Tunnel.kind, status, live, "for Proxy Clients", clients=clients)


def _port(
    path: str,
    status: ListenerStatus | TunnelStatus,
    live: bool,
    about: str,
    *,
    sessions: int = 0,
    clients: tuple[Client, ...] = (),
) -> Port:
    address = f"[{status.address}]" if ":" in status.address else status.address
    return Port(
        path=path,
        id=status.id,
        name=status.name,
        where=f"{address}:{status.port}",
        about=about,
        chip=chip(status.state) if live else of_tone(Tone.OFF, f"was {status.state}"),
        reason=status.reason,
        sessions=sessions,
        startable=status.state in STARTABLE,
        stoppable=status.state in STOPPABLE,
        clients=clients,
    )


def _client(name: str, tunnel: TunnelStatus, slots: int, live: bool) -> Client:
    """A client keeps one link to each worker: with fewer, some sessions cannot be placed everywhere."""
    mine = [link for link in tunnel.links if link.client == name]
    up = sum(1 for link in mine if link.state is LinkState.UP)
    if not live:
        shown = of_tone(Tone.OFF, "was connected" if up else "was not connected")
    elif not up:
        shown = of_tone(Tone.BAD, "not connected")
    elif up < slots:
        shown = of_tone(Tone.WARN, f"{up} of {slots} links")
    else:
        shown = of_tone(Tone.OK, "connected")
    peers = sorted({f"{link.peer} {link.version}".strip() for link in mine})
    return Client(name, up, slots, shown, ", ".join(peers))


@dataclass(frozen=True, slots=True)
class Totals:
    """The line above all rows."""

    servers: int
    running: int
    troubled: int
    listeners: int
    listening: int
    links: int
    sessions: int
    due: tuple[str, ...]


def totals(rows: Iterable[Row]) -> Totals:
    found = list(rows)
    return Totals(
        servers=len(found),
        running=sum(1 for each in found if each.chip.tone is Tone.OK),
        troubled=sum(1 for each in found if each.trouble),
        listeners=sum(len(each.listeners) for each in found),
        listening=sum(each.running for each in found),
        links=sum(each.links for each in found if each.live),
        sessions=sum(each.sessions for each in found),
        due=tuple(each.name for each in found if each.due is not None and each.due.changed),
    )
