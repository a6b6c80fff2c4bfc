"""What looking costs, each part alone, in CPU time: the relay, a policy, SHA-256; and one file's event on its way
through worker, supervisor and manager. In this process, with the parts that the daemons use, and no network."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.unit.sftp.playbook import encode
from usp.chain import Link
from usp.databases import DatabaseSettings
from usp.logfile import Writer
from usp.manager.collect import chains
from usp.manager.store import Store
from usp.manager.store.upgrade import upgrade
from usp.policy import Access, Mode, PathRule
from usp.policy import Policy as Rules
from usp.server.journal import Journal
from usp.server.messages import Events
from usp.server.spool import Spool
from usp.server.story import Story
from usp.server.trail import Before, Trail
from usp.sftp.policy import Compiled
from usp.sftp.records import FileClosed, Spent
from usp.sftp.relay import Relay
from usp.sftp.wire import packet, string, u32, u64

BLOCK: Final = 32 * 1024
EVENTS: Final = 20_000
GIB: Final = 1 << 30


def arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--relayed", type=int, default=512, metavar="MIB", help="through each relay [512]")


def run(options: argparse.Namespace) -> Iterator[str]:
    size = options.relayed << 20
    rules = Rules(mode=Mode.ENFORCE, max_file_size=1 << 40, paths=(PathRule(path="/f", access=Access.ALLOW),))
    alone = _relayed(size, Relay)
    for name, seconds in (
        ("the relay", alone),
        ("a policy, besides", _relayed(size, lambda: Relay(Compiled(rules))) - alone),
        ("SHA-256, besides", _relayed(size, lambda: Relay(hashed=True)) - alone),
    ):
        yield f"  {name:<44} {seconds * GIB / size:8.3f} s/GiB"
    with tempfile.TemporaryDirectory(prefix="usp-bench-") as folder:
        for name, seconds in asyncio.run(_events(Path(folder))).items():
            yield f"  an event, {name:<33} {seconds * 1e6 / EVENTS:8.1f} us"


def _relayed(size: int, make: Callable[[], Relay]) -> float:
    """CPU seconds for an upload of that size, in blocks of 32 KiB, each answered."""
    relay = make()
    body = string(bytes(BLOCK))
    for line in ("INIT 3", "OPEN 1 /f 0x1a -"):
        relay.from_inbound(encode(line))
        relay.from_outbound(encode("VERSION 3" if line == "INIT 3" else "HANDLE 1 h"))
    answer = encode("STATUS 2 0 ok en")
    before = time.process_time()
    for offset in range(0, size, BLOCK):
        relay.from_inbound(packet(6, u32(2), string(b"h"), u64(offset), body))
        relay.from_outbound(answer)
    taken = time.process_time() - before
    closed = relay.finish()[-1]
    assert isinstance(closed, FileClosed)
    assert closed.bytes_written == size
    return taken


async def _events(folder: Path) -> dict[str, float]:
    """CPU seconds for EVENTS of files that were closed."""
    told: dict[str, float] = {}
    packets: list[Events] = []
    journal = Journal(packets.append, lambda: False)
    names = {"session": uuid4().hex, "listener": "partners", "peer": "198.51.100.7:50122"}
    story = Story(journal.tell, "partners", names)
    story.named("acme")
    story.describe(
        node="partners", rule="accounts", configuration=12, target="archive", tunnel="dmz", proxy_client="lan"
    )
    story.describe(client_version="OpenSSH_9.2", ssh_session="a" * 64, target_ssh_session="b" * 64)
    story.describe(algorithms="curve25519-sha256 aes128-gcm@openssh.com", target_algorithms="aes128-gcm@openssh.com")
    spent = Spent(0.04, 0.01, 0.03, 0.0, 0.0)
    files = [FileClosed(b"/in/f%d" % n, False, True, 0, 4096, 0, 0, complete=True, spent=spent) for n in range(EVENTS)]
    before = time.process_time()
    for file in files:
        story.records([file])
    journal.flush()
    sent = [each.model_dump_json() for each in packets]
    told["in the worker"] = time.process_time() - before

    writer = Writer(str(folder / "audit"), limit=2 * EVENTS)
    trail = Trail(writer, Spool(1 << 30), Before(Link("dmz-1", "0" * 16)))
    before = time.process_time()
    for text in sent:
        for line in Events.model_validate_json(text).lines:
            trail.put(line)
    writer.close(30)
    told["in the supervisor, with file and spool"] = time.process_time() - before

    at = DatabaseSettings(path=str(folder / "usp.db"))
    await upgrade(at)
    now = datetime.now(UTC)
    store = await Store.open(at, bytes(32), now=now, new_id=lambda: str(uuid4()))
    before = time.process_time()
    (chain,) = chains("dmz-1", await trail.fetch(Link("", ""), 1 << 30, 0))
    for start in range(0, len(chain), 400):
        await store.trails.take(chain[start : start + 400], now)
    told["in the manager, on SQLite"] = time.process_time() - before
    await store.close()
    return told
