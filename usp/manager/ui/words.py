"""States, numbers and times as people read them. Pure.

A state is shown by an icon and a word, never by its colour alone; `tone` is what colour and icon follow from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from usp.status import Intake, LinkState, ListenerState, Outcome, PushState, ServerState


class Tone(StrEnum):
    """What a state means for who looks at it."""

    OK = "ok"
    BUSY = "busy"  # on its way, without anybody's doing
    WARN = "warn"  # somebody should look
    BAD = "bad"  # does not work
    OFF = "off"  # meant to be so


@dataclass(frozen=True, slots=True)
class Chip:
    """A state to be shown."""

    word: str
    tone: Tone
    icon: str


ICONS: Final[Mapping[Tone, str]] = {
    Tone.OK: "check",
    Tone.BUSY: "clock",
    Tone.WARN: "alert",
    Tone.BAD: "cross",
    Tone.OFF: "pause",
}

TONES: Final[Mapping[type[StrEnum], Mapping[StrEnum, Tone]]] = {
    ServerState: {
        ServerState.UNKNOWN: Tone.BUSY,
        ServerState.UNREACHABLE: Tone.BAD,
        ServerState.PENDING: Tone.BUSY,
        ServerState.RUNNING: Tone.OK,
        ServerState.REJECTED: Tone.BAD,
    },
    ListenerState: {
        ListenerState.STOPPED: Tone.OFF,
        ListenerState.STARTING: Tone.BUSY,
        ListenerState.RUNNING: Tone.OK,
        ListenerState.FAILED: Tone.BAD,
        ListenerState.STOPPING: Tone.BUSY,
        ListenerState.DRAINING: Tone.WARN,
    },
    LinkState: {
        LinkState.HANDSHAKING: Tone.BUSY,
        LinkState.UP: Tone.OK,
        LinkState.DRAINING: Tone.WARN,
        LinkState.DOWN: Tone.BAD,
    },
    PushState: {
        PushState.PENDING: Tone.BUSY,
        PushState.PUSHING: Tone.BUSY,
        PushState.APPLIED: Tone.OK,
        PushState.REJECTED: Tone.BAD,
        PushState.UNREACHABLE: Tone.WARN,
    },
    Intake: {
        Intake.OPEN: Tone.OK,
        Intake.CLOSING: Tone.WARN,
        Intake.CLOSED: Tone.OFF,
    },
}
"""enum -> state -> tone. (Equal words of two enums are equal keys: one table each.)"""


OUTCOMES: Final[Mapping[str, Tone]] = {
    "ok": Tone.OK,
    "failed": Tone.BAD,
    "denied": Tone.WARN,
    "observed": Tone.WARN,
    "unfinished": Tone.WARN,
    Outcome.COMPLETED: Tone.OK,
    Outcome.AUTH_DENIED: Tone.WARN,
    Outcome.TARGET_DENIED: Tone.WARN,
    Outcome.TARGET_UNREACHABLE: Tone.BAD,
    Outcome.TUNNEL_DOWN: Tone.BAD,
    Outcome.HOST_KEY_MISMATCH: Tone.BAD,
    Outcome.PROTOCOL_ERROR: Tone.WARN,
    Outcome.TARGET_PROTOCOL_ERROR: Tone.BAD,
    Outcome.LIMIT: Tone.WARN,
    Outcome.KILLED: Tone.WARN,
    Outcome.INTERNAL: Tone.BAD,
}
"""Of a file, a login or a session. All others are neither good nor bad: somebody went away, or was idle."""


def outcome(word: str) -> Chip:
    """Of an event."""
    return of_tone(OUTCOMES.get(word, Tone.OFF), word)


def of_tone(tone: Tone, word: str) -> Chip:
    return Chip(word, tone, ICONS[tone])


def chip(state: StrEnum) -> Chip:
    """Of a state of `usp.status`."""
    return of_tone(TONES[type(state)][state], state.value)


def size(count: float) -> str:
    """Bytes: 532 B, 1.2 MiB."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def span(seconds: float) -> str:
    """About how long: 45 s, 3 min, 2 h, 5 d."""
    for length, unit in UNITS:
        if seconds >= length * (2 if length > 60 else 1):
            return f"{seconds // length:.0f} {unit}"
    return "0 s"


def ago(at: datetime, now: datetime) -> str:
    """`3 min ago`, `in 5 d`, `now`."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def exact(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def count(number: int, one: str, many: str = "") -> str:
    """`1 session`, `2 sessions`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
