"""A long, narrow, lossy line between two addresses of this machine, made of a TUN device: real TCP on real packets.

What is sent to FAR comes back from FAR at NEAR, after a delay, unless it is lost: whoever connects to FAR reaches what
listens on NEAR, and both ends see latency, loss, reordering and a narrow bandwidth as on any bad line. Needs root and
/dev/net/tun. (The kernel's netem does the same, but the kernels of containers often lack it.)
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

TUN: Final = "/dev/net/tun"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
MTU: Final = 1500
QUEUE: Final = 2.0
"""Seconds of packets that wait for the narrow line before it drops more, as routers do."""


@dataclass
class Line:
    """`delay` and `jitter` in seconds each way (jitter reorders), `loss` a share of packets, `rate` bytes a second each
    way, 0: any."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    sent: int = 0
    lost: int = 0
    reordered: int = 0
    _free: dict[bytes, float] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    def due(self, packet: bytes, now: float) -> float | None:
        """When it arrives; None: never."""
        self.sent += 1
        begins = max(now, self._free.get(packet[12:16], 0.0))
        if self._chance.random() < self.loss or begins - now > QUEUE:
            self.lost += 1
            return None
        ends = begins + (len(packet) / self.rate if self.rate else 0.0)
        self._free[packet[12:16]] = ends
        return ends + self.delay + self._chance.uniform(0, self.jitter)


def is_possible() -> bool:
    return os.getuid() == 0 and os.path.exists(TUN)


@contextmanager
def line() -> Iterator[Line]:
    """Perfect, until it is told otherwise."""
    made, over = Line(), threading.Event()
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    thread = threading.Thread(target=_mirror, args=(device, made, over))
    try:
        name = f"usp{os.getpid()}"
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
        for words in (f"address add {NEAR}/24 dev {name}", f"link set {name} up mtu {MTU}"):
            subprocess.run(["ip", *words.split()], check=True)
        thread.start()
        yield made
    finally:
        over.set()
        if thread.ident:
            thread.join()
        os.close(device)


def _mirror(device: int, line: Line, over: threading.Event) -> None:
    waiting: list[tuple[float, int, bytes]] = []
    order, newest = count(), -1
    while not over.is_set():
        now = time.monotonic()
        left = min(0.05, max(0.0, waiting[0][0] - now)) if waiting else 0.05
        if select.select([device], [], [], left)[0]:
            packet = os.read(device, MTU + 100)
            if packet[0] >> 4 == 4 and (due := line.due(packet, time.monotonic())) is not None:
                heapq.heappush(waiting, (due, next(order), _back(packet)))
        while waiting and waiting[0][0] <= time.monotonic():
            _, number, packet = heapq.heappop(waiting)
            line.reordered += number < newest
            newest = max(newest, number)
            os.write(device, packet)


def _back(packet: bytes) -> bytes:
    """With source and destination exchanged. The checksums, of IP and TCP, are sums: they stay right."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
