"""The picture of who reaches what."""

from __future__ import annotations

from tests.unit.manager.site import ADMIN, PUBLIC, configure, deploy, make
from usp.manager.app import App
from usp.manager.catalog import Create, Update
from usp.manager.store.rows import Server
from usp.manager.ui.drawing import HEIGHT, WIDTH, Box, Picture, picture, short
from usp.manager.ui.overview import row
from usp.manager.ui.words import Tone
from usp.model import ListenerType
from usp.status import (
    LinkState,
    LinkStatus,
    ListenerState,
    ListenerStatus,
    Report,
    ServerState,
    SlotStatus,
    TunnelStatus,
)


async def drawn(app: App, server: Server | None = None) -> Picture:
    catalog = await app.catalog()
    record = catalog.get("proxy-servers", "server")
    return picture(catalog, [row(catalog, record, server or Server("server"), {}, None)])


def boxes(found: Picture) -> dict[tuple[int, str], Box]:
    return {(box.column, box.name): box for box in found.boxes}


async def test_nothing_but_a_server(app: App) -> None:
    await configure(app)
    found = await drawn(app)
    assert list(boxes(found)) == [(2, "server")]
    assert found.lines == []
    assert picture(await app.catalog(), []).boxes == []


async def test_what_is_configured_and_not_pushed(app: App) -> None:
    await configure(app)
    await deploy(app, "l", 2222)
    found = await drawn(app)
    assert boxes(found)[(1, "l")].more == "127.0.0.1:2222 · not pushed"
    assert boxes(found)[(0, "in")].more == "Inbound Node"
    assert boxes(found)[(4, "out")].more == "127.0.0.1:22"
    assert {line.about for line in found.lines} == {"in to l", "l to server", "server to out"}


async def test_the_whole_way_with_its_states(app: App) -> None:
    await configure(app)
    await app.write(
        ADMIN,
        [
            Create("tunnels", {"name": "t", "proxy_server": "server", "port": 1, "private_key": "host"}),
            Create("public-keys", {"name": "k", "public_key": PUBLIC}),
            Create("proxy-clients", {"name": "c", "tunnel": "t", "public_key": "k"}),
        ],
    )
    more = {"address": "127.0.0.1", "port": 2222, "route": "r", "default_outbound_node": "out"}
    through = {"proxy_server": "server", "tunnel": "t", "proxy_client": "c"}
    await make(app, "listeners", "l", **more)
    await make(app, "deployments", "d", listener="l", **through)
    await make(app, "listeners", "unused", **{**more, "port": 2224})
    await make(app, "deployments", "off", listener="unused", enabled=False, **through)
    tcp = {"type": "tcp", "ip_filter": "all", "target_host": "192.0.2.1", "target_port": 22}
    await make(app, "listeners", "direct", port=2223, **tcp)
    await make(app, "deployments", "direct", listener="direct", proxy_server="server")
    catalog = await app.catalog()
    tunnel = TunnelStatus(
        id=catalog.get("tunnels", "t").id, name="t", address="0.0.0.0", port=1, state=ListenerState.RUNNING,
        links=(LinkStatus(id="x", client="c", slot=0, state=LinkState.UP, peer="p"),),
    )  # fmt: skip
    listener = ListenerStatus(
        id=catalog.get("deployments", "d").id, name="l", type=ListenerType.SFTP, address="127.0.0.1", port=2222,
        state=ListenerState.RUNNING,
    )  # fmt: skip
    slots = (SlotStatus(slot=0, pid=1, ready=True, sessions=0, restarts=0),)
    report = Report(
        server="server", software="1", boot="b", started_at=0.0, slots=slots, listeners=(listener,), tunnels=(tunnel,)
    )
    up = await drawn(app, Server("server", state=ServerState.RUNNING, report=report, age=0.0))
    tones = {line.about: line.tone for line in up.lines}
    assert tones == {
        "in to l": Tone.OK,
        "l to server": Tone.OK,
        "server to c": Tone.OK,
        "c to out": Tone.OK,
        "all to direct": Tone.WARN,
        "direct to server": Tone.WARN,
        "server to 192.0.2.1:22": Tone.OK,
    }
    assert [(way.listener.name, [box.name for box in way.partners]) for way in up.ways] == [
        ("direct", ["all"]),
        ("l", ["in"]),
    ]
    ways = [(way.server.name, way.client and way.client.name, way.targets[0].more) for way in up.ways]
    assert ways == [("server", None, "passed through"), ("server", "c", "127.0.0.1:22")]
    alone = report.model_copy(update={"tunnels": (tunnel.model_copy(update={"links": ()}),)})
    cut = await drawn(app, Server("server", state=ServerState.RUNNING, report=alone, age=0.0))
    tones = {line.about: line.tone for line in cut.lines}
    assert (tones["server to c"], tones["c to out"], tones["l to server"]) == (Tone.BAD, Tone.BAD, Tone.OK)
    assert cut.lines[-1].tone is Tone.BAD, "what does not work is drawn above the rest"
    assert all(box.x + WIDTH <= up.width and box.y + HEIGHT <= up.height for box in up.boxes)
    places = [(box.x, box.y) for box in up.boxes]
    assert len(set(places)) == len(places)
    for one in up.boxes:
        for other in up.boxes:
            assert one is other or one.x != other.x or abs(one.y - other.y) >= HEIGHT, "boxes do not overlap"


async def test_disabled_items_and_alternates(app: App) -> None:
    await configure(app)
    await deploy(app, "l", 2222)
    node = {"name": "in", "ip_filter": "all", "host_keys": ["host"], "rule": "pass", "enabled": False}
    out = {"name": "out", "host": "127.0.0.1", "host_keys": ["target"], "alternates": [{"host": "192.0.2.2"}]}
    await app.write(ADMIN, [Update("inbound-nodes", "in", node), Update("outbound-nodes", "out", out)])
    found = boxes(await drawn(app))
    assert (found[(0, "in")].more, found[(0, "in")].chip.tone) == ("Inbound Node, disabled", Tone.OFF)
    assert found[(4, "out")].below == "127.0.0.1:22 +1"


def test_long_names_are_cut() -> None:
    assert short("abc", 3) == "abc"
    assert short("abcd", 3) == "ab…"
    box = Box(0, "n" * 100, "m" * 100, chip=None, path="")  # type: ignore[arg-type]
    assert (len(box.label), len(box.below)) == (22, 26)
