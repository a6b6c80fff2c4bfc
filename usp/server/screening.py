"""Screening: the Relay of a channel with a Quarantine behind it, and the scans that are under way.

To its `Exchange` it is what a Relay is. Verdicts come in between: then it has the exchange perform a step. While the
scanner does not keep up, the exchange does not read its partner.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from usp.scan import Scan, Verdict
from usp.server.scanner import Feed
from usp.sftp.files import File
from usp.sftp.orders import Begin, Content, Drop, Order
from usp.sftp.quarantine import Flow, Quarantine
from usp.sftp.records import Record
from usp.sftp.relay import Relay
from usp.sftp.steps import Close, Limits, Step
from usp.sftp.wire import Bytes
from usp.tasks import spawn

NOTHING = Step((), (), (), None)


class Carrier(Protocol):
    """The exchange."""

    def perform(self, step: Step) -> None: ...

    def target_full(self, full: bool, why: str) -> None: ...

    def settled(self) -> None: ...

    def crashed(self, exc: Exception) -> None: ...


class Screening:
    """`judge` scans one file: its path, and its content as it comes."""

    def __init__(self, relay: Relay, scan: Scan, judge: Callable[[bytes, Feed], Coroutine[Any, Any, Verdict]]) -> None:
        self._relay = relay
        self._judge = judge
        self._quarantine = Quarantine(scan, partial(secrets.token_hex, 16), Limits().packet)
        self._scans: dict[int, tuple[Feed, asyncio.Task[None]]] = {}
        self._carrier: Carrier | None = None
        self._leaving = False

    def attach(self, carrier: Carrier) -> None:
        self._carrier = carrier

    @property
    def waiting(self) -> bool:
        return self._relay.waiting

    @property
    def settled(self) -> bool:
        return self._quarantine.settled

    @property
    def file(self) -> File | None:
        return self._relay.file

    def from_inbound(self, data: Bytes) -> Step:
        step = self._relay.from_inbound(data)
        return self._join(step, self._quarantine.from_relay(step.to_outbound))

    def from_outbound(self, data: Bytes) -> Step:
        return self._join(NOTHING, self._quarantine.from_target(data))

    def inbound_eof(self) -> Step:
        self._leaving = True
        return self._join(self._relay.inbound_eof(), self._quarantine.eof())

    def abandon(self) -> Step:
        self._leaving = True
        return self._join(NOTHING, self._quarantine.abandon())

    def finish(self) -> Sequence[Record]:
        for _, task in self._scans.values():
            task.cancel()
        return [*self._relay.finish(), *self._seen(self._quarantine.finish())]

    def _seen(self, records: Sequence[Record]) -> Iterable[Record]:
        """What the quarantine tells, with paths as the partner sees them."""
        root = self._relay.root
        return map(root.seen_in, records) if root else records

    def _join(self, step: Step, flow: Flow) -> Step:
        """What the relay and the quarantine have to say at once."""
        for order in flow.orders:
            self._obey(order)
        to_inbound, records, close = [*step.to_inbound], [*step.records, *self._seen(flow.records)], step.close
        for piece in flow.to_relay:
            back = self._relay.from_outbound(piece)
            to_inbound += back.to_inbound
            records += back.records
            close = close or back.close
        if flow.wrong and close is None:
            close = Close("protocol_error", "target", flow.wrong)
        if self._leaving and self.settled and self._carrier:
            asyncio.get_running_loop().call_soon(self._carrier.settled)  # once this step is performed
        return Step(flow.to_target, to_inbound, records, close)

    # The scans

    def _obey(self, order: Order) -> None:
        if isinstance(order, Begin):
            feed = Feed(partial(self._drained, order.number))
            task = spawn(self._scan(order.number, order.path, feed), f"scan {order.number}")
            self._scans[order.number] = feed, task
            return
        if order.number not in self._scans:
            return  # there is a verdict already
        feed, task = self._scans[order.number]
        if isinstance(order, Content):
            feed.put(order.data)
            if feed.full:
                self._hold(order.number, True)
        elif isinstance(order, Drop):
            task.cancel()
            self._over(order.number)
        else:
            feed.end()

    async def _scan(self, number: int, path: bytes, feed: Feed) -> None:
        try:
            verdict = await self._judge(path, feed)
            self._over(number)
            self._perform(self._quarantine.judged(number, verdict))
        except Exception as exc:
            if self._carrier:
                self._carrier.crashed(exc)

    def _drained(self, number: int) -> None:
        if number in self._scans:
            self._perform(self._quarantine.more(number))
            self._hold(number, False)

    def _over(self, number: int) -> None:
        del self._scans[number]
        self._hold(number, False)

    def _hold(self, number: int, full: bool) -> None:
        if self._carrier:
            self._carrier.target_full(full, f"scan {number}")

    def _perform(self, flow: Flow) -> None:
        if self._carrier:
            self._carrier.perform(self._join(NOTHING, flow))
