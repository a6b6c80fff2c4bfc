"""The picture of who reaches what: partners, listeners, servers, Proxy Clients, targets. Pure.

Columns from left to right, as a connection goes. A box has the tone of what it stands for; a line has the worse one of
its two ends, so that a way that does not work shows as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.manager.ui.overview import Port, Row
from usp.manager.ui.words import Chip, Tone, of_tone
from usp.model import Deployment, InboundNode, IpFilter, Item, Listener, OutboundNode, ProxyClient, Record, Route

COLUMNS: Final = ("Partners", "Listeners", "Proxy Servers", "Proxy Clients", "Targets")
WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 180, 46, 54, 14, 34
RANK: Final = (Tone.OK, Tone.OFF, Tone.BUSY, Tone.WARN, Tone.BAD)
"""From the best to the worst."""
LETTERS: Final = 22
"""That fit into a box."""

Key = tuple[int, str]


@dataclass(slots=True)
class Box:
    """`column`, and what it says: a name, a line below it, its state."""

    column: int
    name: str
    more: str
    chip: Chip
    path: str
    x: int = 0
    y: int = 0

    @property
    def label(self) -> str:
        return short(self.name, LETTERS)

    @property
    def below(self) -> str:
        return short(self.more, LETTERS + 4)


@dataclass(frozen=True, slots=True)
class Line:
    """From the right side of one box to the left side of another."""

    tone: Tone
    about: str
    way: str


@dataclass(frozen=True, slots=True)
class Way:
    """Through one listener, in words: for screens that are too narrow for the picture."""

    partners: tuple[Box, ...]
    listener: Box
    server: Box
    client: Box | None
    targets: tuple[Box, ...]


@dataclass(slots=True)
class Picture:
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    width: int = 0
    height: int = 0
    ways: list[Way] = field(default_factory=list)


def short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def picture(catalog: Catalog, rows: Iterable[Row]) -> Picture:
    """Of those servers, and all that leads to and from them."""
    graph = _Graph(catalog)
    for row in rows:
        graph.add(row)
    found = _drawn(graph.boxes, graph.edges)
    found.ways = sorted(graph.ways, key=lambda way: (way.server.name, way.listener.name))
    return found


class _Graph:
    def __init__(self, catalog: Catalog) -> None:
        self.boxes: dict[Key, Box] = {}
        self.edges: dict[tuple[Key, Key], None] = {}
        self.ways: list[Way] = []
        self._catalog = catalog

    def add(self, row: Row) -> None:
        path = f"/ui/servers/{row.name}"
        server = self._box(2, row.id, row.name, f"{row.where} · {row.chip.word}", row.chip, path)
        ports = {port.id: port for port in row.listeners}
        clients = {client.name: client.chip for tunnel in row.tunnels for client in tunnel.clients}
        for record in self._deployments(row.id):
            self._deployment(server, record, ports.get(record.id), clients, path)

    def _deployments(self, server: str) -> Iterator[Record]:
        for record, name in self._catalog.referrers(server):
            if record.kind == Deployment.kind and name == "proxy_server" and record.item.enabled:
                yield record

    def _deployment(
        self, server: Key, record: Record, port: Port | None, clients: Mapping[str, Chip], path: str
    ) -> None:
        deployment = item_of(Deployment, record)
        listener = item_of(Listener, self._catalog.records[deployment.listener])
        chip = port.chip if port else of_tone(Tone.WARN, "not pushed")
        where = port.where if port else f"{listener.address}:{listener.port}"
        here = self._box(1, record.id, listener.name, f"{where} · {chip.word}", chip, path)
        self._edge(here, server)
        client_box, way_out = None, server
        if deployment.proxy_client is not None:
            client = item_of(ProxyClient, self._catalog.records[deployment.proxy_client])
            state = clients.get(client.name, of_tone(Tone.WARN, "not pushed"))
            way_out = self._box(3, deployment.proxy_client, client.name, state.word, state, path)
            self._edge(server, way_out)
            client_box = self.boxes[way_out]
        partners = [self._item(0, id, more) for id, more in self._partners(listener)]
        for each in partners:
            self._edge(each, here)
        off = of_tone(Tone.OFF, "target")
        targets = [self._box(4, key, target, more, off, path) for target, more, key in self._targets(listener)]
        for each in targets:
            self._edge(way_out, each)
        self.ways.append(Way(self._all(partners), self.boxes[here], self.boxes[server], client_box, self._all(targets)))

    def _all(self, keys: Iterable[Key]) -> tuple[Box, ...]:
        return tuple(self.boxes[key] for key in keys)

    def _partners(self, listener: Listener) -> Iterator[tuple[str, str]]:
        """Inbound Nodes; of a listener that passes TCP through, its IP Filter."""
        if listener.route is not None:
            for id in item_of(Route, self._catalog.records[listener.route]).inbound_nodes:
                yield id, InboundNode.title
        else:
            assert listener.ip_filter is not None, "its type wants one"
            yield listener.ip_filter, IpFilter.title

    def _targets(self, listener: Listener) -> Iterator[tuple[str, str, str]]:
        if listener.route is None:
            where = f"{listener.target_host}:{listener.target_port}"
            yield where, "passed through", f"tcp {where}"
            return
        for id in item_of(Route, self._catalog.records[listener.route]).outbound_nodes:
            node = item_of(OutboundNode, self._catalog.records[id])
            others = f" +{len(node.alternates)}" if node.alternates else ""
            yield node.name, f"{node.host}:{node.port}{others}", id

    def _item(self, column: int, id: str, more: str) -> Key:
        item: Item = self._catalog.records[id].item
        chip = of_tone(Tone.OK, "enabled") if item.enabled else of_tone(Tone.OFF, "disabled")
        return self._box(column, id, item.name, more if item.enabled else f"{more}, disabled", chip, "")

    def _box(self, column: int, id: str, name: str, more: str, chip: Chip, path: str) -> Key:
        key = (column, id)
        self.boxes.setdefault(key, Box(column, name, more, chip, path))
        return key

    def _edge(self, one: Key, other: Key) -> None:
        self.edges[(one, other)] = None


def _drawn(boxes: Mapping[Key, Box], edges: Iterable[tuple[Key, Key]]) -> Picture:
    pairs = list(edges)
    columns: list[list[Key]] = [[key for key in boxes if key[0] == number] for number in range(len(COLUMNS))]
    place = {key: number for column in columns for number, key in enumerate(column)}
    for number in (1, 0, 2, 3, 4, 1):  # each near what it is connected with, so that few lines cross
        columns[number].sort(key=lambda key: (_middle(key, pairs, place), boxes[key].name))
        place.update({key: at for at, key in enumerate(columns[number])})
    tallest = max((len(column) for column in columns), default=0)
    full = tallest * (HEIGHT + GAP_Y)
    for number, column in enumerate(columns):
        step = full / len(column) if column else 0.0
        for at, key in enumerate(column):
            boxes[key].x = number * (WIDTH + GAP_X) + 1
            boxes[key].y = round(TOP + at * step + (step - HEIGHT) / 2)
    lines = [_line(boxes[one], boxes[other]) for one, other in pairs]
    width = len(COLUMNS) * (WIDTH + GAP_X) - GAP_X + 2
    return Picture(list(boxes.values()), sorted(lines, key=lambda line: RANK.index(line.tone)), width, TOP + full + 2)


def _middle(key: Key, pairs: Iterable[tuple[Key, Key]], place: Mapping[Key, int]) -> float:
    near = [place[other] for one, other in pairs if one == key] + [place[one] for one, other in pairs if other == key]
    return sum(near) / len(near) if near else 0.0


def _line(one: Box, other: Box) -> Line:
    is_target = other.column == len(COLUMNS) - 1  # which has no state of its own
    tone = one.chip.tone if is_target else max(one.chip.tone, other.chip.tone, key=RANK.index)
    x1, y1, x2, y2 = one.x + WIDTH, one.y + HEIGHT // 2, other.x, other.y + HEIGHT // 2
    bend = (x2 - x1) // 2
    return Line(tone, f"{one.name} to {other.name}", f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}")
