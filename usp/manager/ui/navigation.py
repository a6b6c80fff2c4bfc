"""What there is in the UI, in the order in which it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the menu. `name` marks it while it, or a page below it, is shown; `icon`: see templates/icons.html."""

    name: str
    title: str
    path: str
    icon: str


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    entries: tuple[Entry, ...]


SECTIONS: Final = (
    Section(
        "Monitoring",
        (Entry("status", "Status", "/ui/status", "pulse"),),
    ),
)
"""One entry a line, so that branches do not collide."""
