"""What needs a person: servers and ports that do not work, clients that are away, what was not pushed, what expires.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from usp.expiry import warning
from usp.manager.ui.overview import Row
from usp.manager.ui.words import Tone


@dataclass(frozen=True, slots=True)
class Concern:
    """`path`: where to look at it."""

    tone: Tone
    what: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """A certificate: `until` in Unix time."""

    where: str
    name: str
    until: float


def concerns(rows: Iterable[Row], certificates: Iterable[Expiry], now: float) -> list[Concern]:
    """The worst first."""
    found = [concern for row in rows for concern in _of_row(row)]
    found += _of_certificates(certificates, now)
    return sorted(found, key=lambda each: (each.tone is not Tone.BAD, each.what))


def _of_row(row: Row) -> Iterator[Concern]:
    path, inside = f"/ui/servers/{row.name}", f"/ui/status?open={row.name}"
    if row.chip.tone is Tone.BAD:
        yield Concern(Tone.BAD, row.name, row.reason, path)
    for port in (*row.listeners, *row.tunnels):
        if port.chip.tone is Tone.BAD:
            yield Concern(Tone.BAD, f"{port.name} on {row.name}", port.reason or f"It is {port.chip.word}.", inside)
        for client in port.clients:
            if client.chip.tone in (Tone.BAD, Tone.WARN):
                text = f"It is {client.chip.word}." if client.chip.tone is Tone.BAD else f"It has {client.chip.word}."
                yield Concern(client.chip.tone, f"Proxy Client {client.name} on {row.name}", text, inside)
    if row.due is not None and row.due.problem:
        yield Concern(Tone.BAD, row.name, f"Its configuration cannot be pushed: {row.due.problem}.", f"{path}/push")
    elif row.due is not None and row.due.changed:
        yield Concern(Tone.WARN, row.name, "There are changes that were not pushed.", f"{path}/push")
    if row.drained:
        yield Concern(Tone.WARN, row.name, "It is drained: it takes no new sessions.", path)


def _of_certificates(certificates: Iterable[Expiry], now: float) -> Iterator[Concern]:
    for each in certificates:
        text = warning(each.name, each.until, now)
        if text:
            tone = Tone.BAD if each.until <= now else Tone.WARN
            yield Concern(tone, each.where, f"{text[:1].upper()}{text[1:]}.", "/ui/status")
