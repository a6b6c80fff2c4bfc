"""What has changed on a server between two looks at it: the history that the database keeps. Pure.

A *change* says of what (`subject`: "" is the server itself, else `listener NAME`, `tunnel NAME`, or `client NAME on
TUNNEL`), which state it had and which it has now. Counters and partners' sessions are no changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from usp.status import Intake, LinkState, Report, ServerState

NONE: Final = "none"
"""The state of what is not there, or was not."""


@dataclass(frozen=True, slots=True)
class Change:
    subject: str
    was: str
    state: str
    reason: str = ""


def changes(
    was: ServerState, before: Report | None, state: ServerState, after: Report | None, reason: str
) -> Iterator[Change]:
    """`before`: the last report; `after`: the new one, or None if the server did not answer."""
    if state is not was:
        yield Change("", was, state, reason)
    if after is None:
        return
    if before is not None and before.boot != after.boot:
        yield Change(
            "", f"boot {before.boot[:8]}", f"boot {after.boot[:8]}", f"it was restarted, release {after.software}"
        )
    old, new = before.version if before else 0, after.version
    if old != new:
        yield Change("", f"version {old}", f"version {new}")
    intake = before.intake if before else Intake.OPEN
    if intake is not after.intake:
        yield Change("", f"intake {intake}", f"intake {after.intake}")
    there, now = _parts(before), _parts(after)
    for subject in dict.fromkeys([*there, *now]):
        (first, _), (then, why) = there.get(subject, (NONE, "")), now.get(subject, (NONE, ""))
        if first != then:
            yield Change(subject, first, then, why)


def _parts(report: Report | None) -> Mapping[str, tuple[str, str]]:
    """subject -> (state, reason) of everything on a server that has a state."""
    found: dict[str, tuple[str, str]] = {}
    if report is None:
        return found
    for listener in report.listeners:
        found[f"listener {listener.name}"] = listener.state, listener.reason
    for tunnel in report.tunnels:
        found[f"tunnel {tunnel.name}"] = tunnel.state, tunnel.reason
        for link in tunnel.links:
            if link.client and link.state is LinkState.UP:
                found[f"client {link.client} on {tunnel.name}"] = LinkState.UP, ""
    return found
