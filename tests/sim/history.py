"""One seed, one history: managers, servers and administrators for a while in chaos, then in calm; then all must agree.

What must hold at every moment is asserted where it happens (tests/sim/world.py): no server ever runs an older version
than one that it ran before in this life, or that is known to have been accepted in an earlier one; no partner ever
meets a worker at another version than the server's; and no two managers hold a server's lease. In the end every server
runs the newest version, or, if it refused that, the last one that it accepted; run states and draining are as
administrators want them; and what the database says of all that is true. One manager dies in the calm: another has its
leases soon, and what is known of servers never gets old.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from tests.catalogs import changed, edit, sample
from tests.sim import virtual
from tests.sim.world import Chaos, Network, ProxyServer, Store, Tables, accepted, add_version, clock
from usp import log
from usp import plan as planning
from usp.manager.bell import Bell
from usp.manager.catalog import Catalog, Create
from usp.manager.compile import compile as compiled
from usp.manager.control import Controls
from usp.manager.pusher import Pusher
from usp.manager.store import Store as RealStore
from usp.manager.store.rows import RunState
from usp.settings import LogLevel, PushSettings
from usp.status import Intake, PushState, Report, ServerState
from usp.tasks import TaskSet

CHAOS: Final = 40.0
CALM: Final = 30.0
DEATH: Final = CHAOS + 22.0
"""When the manager dies that holds a server then; all others are well."""
TAKEOVER: Final = 5.0
"""Seconds until another one holds the lease."""
AGE: Final = 3.0
"""Seconds for which a status may not have been renewed, in the calm."""
NAMES: Final = ("dmz", "dmz2")


class Manager:
    """A usp-manager that may die, stall, and tell the wrong time."""

    def __init__(self, number: int, tables: Tables, servers: dict[str, ProxyServer], chaos: Chaos) -> None:
        self.number = number
        self._tables = tables
        self._chaos = chaos
        self._servers = servers
        self._late: set[Any] = set()
        self._offset = timedelta()
        self._stalled = asyncio.Event()
        self._tasks = TaskSet()
        self.start()

    def start(self) -> None:
        self.bell = Bell()
        self._stalled.set()
        self.network = Network(self._servers, self._chaos, self._stalled.wait, self._late)
        self._store = Store(self._tables, self._chaos, self._stalled.wait)
        pusher = Pusher(
            cast(RealStore, self._store),
            cast(Controls, self.network),
            self.bell,
            PushSettings(interval=1.0, timeout=5.0),
            clock=clock(lambda: self._offset),
            random=self._chaos.random.random,
        )
        self.holdings = pusher.holdings
        self._tasks = TaskSet()
        self._tasks.spawn(pusher.run(), f"manager {self.number}")

    async def live(self) -> None:
        while True:
            await asyncio.sleep(0.5 + self._chaos.seconds(self._chaos.manager_life))
            if not self._chaos.on:
                continue
            match self._chaos.random.randrange(5):
                case 0:
                    self._chaos.tell(f"manager {self.number} dies")
                    await self.stop(at_once=self._chaos.happens(0.7))
                    await asyncio.sleep(self._chaos.seconds(10))
                    self.start()
                case 1:
                    self._chaos.tell(f"manager {self.number} stalls")
                    self._stalled.clear()
                    await asyncio.sleep(self._chaos.seconds(20))
                    self._stalled.set()
                case 2:
                    self._offset = timedelta(seconds=self._chaos.random.choice((-3600, 0, 3600)))
                case 3:
                    self.network.cut = {name for name in NAMES if self._chaos.happens(0.5)}
                    self._chaos.tell(f"manager {self.number} is cut off from {sorted(self.network.cut)}")
                case _:
                    self.network.cut.clear()

    async def stop(self, *, at_once: bool = False) -> None:
        """At once: killed, and no word comes from it any more."""
        self._store.dead = at_once
        await self._tasks.cancel()

    def holds(self, server: str) -> bool:
        return self.holdings.holds(server)


async def _server_lives(server: ProxyServer, chaos: Chaos) -> None:
    while True:
        await asyncio.sleep(0.2 + chaos.seconds(chaos.server_life))
        if not chaos.on:
            continue
        if chaos.happens(0.3):
            server.draining = True
            await asyncio.sleep(chaos.seconds(3))
        chaos.tell(f"{server.boot} dies")
        server.stop()
        await asyncio.sleep(chaos.seconds(5))
        server.start()


async def _partners(servers: dict[str, ProxyServer]) -> None:
    while True:
        await asyncio.sleep(0.25)
        for server in servers.values():
            server.partner()
            server.turn()


async def _watched(managers: list[Manager], tables: Tables, chaos: Chaos) -> None:
    """By one manager each; and in the calm, somebody always does."""
    while True:
        await asyncio.sleep(0.1)
        now = asyncio.get_running_loop().time()
        for name in NAMES:
            holders = [manager.number for manager in managers if manager.holds(name)]
            chaos.must(len(holders) <= 1, f"managers {holders} hold {name} at once")
            if now > DEATH and len(managers) > 1:
                age = now - tables.seen[name]
                chaos.must(age <= AGE, f"{name} was last seen {age:.1f} s ago")
                chaos.must(bool(holders) or now <= DEATH + TAKEOVER, f"nobody holds {name}")


async def _death(managers: list[Manager], chaos: Chaos) -> None:
    await asyncio.sleep(DEATH)
    holder = next((manager for manager in managers if manager.holds(NAMES[0])), None)
    if holder is not None and len(managers) > 1:
        chaos.tell(f"manager {holder.number} dies, and stays dead")
        await holder.stop(at_once=True)


async def _database(tables: Tables, chaos: Chaos) -> None:
    while True:
        await asyncio.sleep(1 + chaos.seconds(chaos.database_life))
        tables.down = chaos.on
        await asyncio.sleep(chaos.seconds(8))
        tables.down = False


async def _administrators(tables: Tables, managers: list[Manager], chaos: Chaos) -> None:
    """They edit and push, stop and start, drain and take back, and none knows of the others."""
    while True:
        await asyncio.sleep(chaos.seconds(chaos.between_orders))
        if not chaos.on:
            continue
        catalog, name = tables.catalog, chaos.random.choice(NAMES)
        match chaos.random.randrange(6):
            case 0 | 1 | 2:
                tables.catalog = _edited(catalog, chaos)
                number = add_version(tables, name, compiled(tables.catalog, name))
                chaos.tell(f"version {number} of {name} is wanted")
            case 3 | 4:
                id = chaos.random.choice([*catalog.of_kind("deployments"), *catalog.of_kind("tunnels")]).id
                tables.run_states[id] = chaos.random.choice((RunState.STARTED, RunState.STOPPED))
            case _:
                drained = chaos.random.choice((RunState.DRAINED, RunState.STARTED))
                tables.run_states[catalog.get("proxy-servers", name).id] = drained
                chaos.tell(f"{name} is to be {drained}")
        chaos.random.choice(managers).bell.ring()


def _edited(catalog: Catalog, chaos: Chaos) -> Catalog:
    """Another port for the listener; or a listener that servers refuse, or none such any more."""
    (record,) = [record for record in catalog.of_kind("listeners") if record.item.name != "tcp"]
    name = record.item.name
    if chaos.random.random() < 0.3:
        name = "poison" if name == "sftp" else "sftp"
    return changed(catalog, edit(catalog, "listeners", record.id, name=name, port=chaos.random.randrange(3000, 4000)))


def play(seed: int) -> list[str]:
    """The history of a seed, as it was told. AssertionError when something does not hold."""
    chaos = Chaos(random.Random(seed))
    rank, log._state.rank = log._state.rank, len(LogLevel) + 1  # what managers say of all that chaos
    try:
        virtual.run(_history(chaos))
    except AssertionError as error:
        story = "\n".join(chaos.told[-60:])
        raise AssertionError(f"{error}\n\n{story}\n\nagain: python -m tests.sim --seed {seed}") from error
    finally:
        log._state.rank = rank
    return chaos.told


async def _history(chaos: Chaos) -> None:
    start = changed(sample(), Create("deployments", {"name": "sftp-dmz2", "listener": "sftp", "proxy_server": "dmz2"}))
    tables = Tables(start)
    servers = {name: ProxyServer(name, chaos, partial(accepted, tables)) for name in NAMES}
    managers = [Manager(number, tables, servers, chaos) for number in range(1, chaos.random.randint(1, 3) + 1)]
    lives = [
        *(manager.live() for manager in managers),
        *(_server_lives(server, chaos) for server in servers.values()),
        _partners(servers),
        _watched(managers, tables, chaos),
        _death(managers, chaos),
        _database(tables, chaos),
        _administrators(tables, managers, chaos),
    ]
    async with contextlib.AsyncExitStack() as stack:
        for manager in managers:
            stack.push_async_callback(manager.stop)
        tasks = [asyncio.get_running_loop().create_task(life) for life in lives]
        stack.callback(lambda: [task.cancel() for task in tasks])
        await _until(CHAOS, tasks)
        chaos.on = False
        chaos.tell("calm")
        await _until(CHAOS + CALM, tasks)
        assert not chaos.broken, chaos.broken[0]
        for server in servers.values():
            _agrees(server, tables)


async def _until(moment: float, tasks: list[asyncio.Task[None]]) -> None:
    """None of the tasks ends before; one that breaks, breaks the history."""
    loop = asyncio.get_running_loop()
    done, _ = await asyncio.wait(tasks, timeout=moment - loop.time(), return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _agrees(server: ProxyServer, tables: Tables) -> None:
    rows = tables.versions.get(server.name, [])
    seen = tables.servers[server.name]
    assert seen.report == server.status(), f"{server.name}: what the database says is not so"
    if not rows:
        assert (server.status().version, seen.state) == (0, ServerState.PENDING)
        return
    newest = rows[-1][0]
    rejected = newest.push is PushState.REJECTED
    due = accepted(tables, server.name) if rejected else newest.number
    if rejected:
        assert newest.number in server.refused, f"{server.name}: version {newest.number} was not refused"
        assert seen.state is ServerState.REJECTED
    else:
        assert newest.push is PushState.APPLIED, f"{server.name}: version {newest.number} is {newest.push}"
        assert seen.state is ServerState.RUNNING, f"{server.name}: {seen.state}: {seen.reason}"
    report: Report = server.status()
    assert report.version == due, f"{server.name} runs {report.version}, not {due}: {seen.reason}"
    assert report.digest == next((row.digest for row, _ in rows if row.number == due), ""), f"{server.name}: a mixture"
    drained = tables.run_states.get(tables.catalog.get("proxy-servers", server.name).id) is RunState.DRAINED
    if report.version:
        assert (report.intake is Intake.CLOSED) is drained, f"{server.name}: {report.intake}"
    wanted = {id: state is RunState.STARTED for id, state in tables.run_states.items()}
    assert server.listening == set(planning.wanted(server.snapshot, wanted)), f"{server.name}: other ports listen"
    for worker in server.workers:
        worker.deliver()
        assert worker.version in (report.version, 0 if not report.version else report.version)
