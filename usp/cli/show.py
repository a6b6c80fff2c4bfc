"""How answers look to people: tables and lists. (Machines take `--json`.)"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], object]]

STYLES: Final[Mapping[str, str]] = {
    "running": "green",
    "applied": "green",
    "up": "green",
    "failed": "red",
    "rejected": "red",
    "unreachable": "red",
    "down": "red",
    "late": "red",
    "pending": "yellow",
    "waiting": "yellow",
    "pushing": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "draining": "yellow",
    "handshaking": "yellow",
}
"""Names of states (interfaces.md) -> how they stand out on a terminal."""

UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def as_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def table(columns: Sequence[Column], rows: Iterable[Row], *, title: str = "", empty: str = "nothing") -> None:
    """Aligned columns. Piped into another program they are not cut to any width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = list(rows)
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 10_000, highlight=False)
    if not found:
        console.print(Text(f"{title}: {empty}" if title else empty))
        return
    drawn = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for heading, _ in columns:
        drawn.add_column(heading, overflow="fold")
    for row in found:
        drawn.add_row(*(_cell(value(row)) for _, value in columns))
    console.print(drawn)


def line(columns: Sequence[Column], row: Row) -> str:
    """One row of a table that has no end."""
    return "  ".join(text(value(row)) for _, value in columns)


def parsed(answer: str) -> Any:
    return json.loads(answer)


def fields(row: Row, indent: str = "") -> None:
    """One thing, a line for each field."""
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            print(f"{indent}{name}:")
            fields(value, indent + "  ")
        else:
            print(f"{indent}{name}: {text(value)}")


def text(value: object) -> str:
    if value is None or value == "" or value == () or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text(each) for each in value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text(each)}" for name, each in value.items())
    return printable(str(value))


def printable(value: str) -> str:
    """Without what would steer the terminal: names come from far away."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)


def duration(seconds: float | None) -> str:
    """`3 min`: one unit is enough."""
    if seconds is None:
        return "never"
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def since(moment: float | str | None, now: datetime | None = None) -> str:
    """How long ago: Unix time, or as RFC 3339 writes it."""
    if moment is None:
        return "never"
    then = datetime.fromisoformat(moment) if isinstance(moment, str) else datetime.fromtimestamp(moment, UTC)
    return duration(max(0.0, ((now or datetime.now(UTC)) - then).total_seconds()))


def size(count: int) -> str:
    """`1.5 MiB`"""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _cell(value: object) -> Any:
    from rich.text import Text

    shown = text(value)
    return Text(shown, style=STYLES.get(shown, ""))
