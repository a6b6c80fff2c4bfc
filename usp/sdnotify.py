"""sd_notify(3) by hand: tells systemd how the daemon is, when systemd has asked to be told (NOTIFY_SOCKET)."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(**state: str | int) -> None:
    """Such as `notify(READY=1, STATUS="serving")`. Never fails: whoever does not listen does not hear."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    text = "\n".join(f"{name}={value}" for name, value in state.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto(text.encode(), address)


def watchdog_interval() -> float | None:
    """Seconds between WATCHDOG=1 messages (half of what systemd allows); None when it does not watch this process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 2_000_000 if for_us and microseconds.isdecimal() and int(microseconds) > 0 else None
