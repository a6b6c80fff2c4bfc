"""What is to be scanned, as orders about scans, each of which has a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Begin:
    """A scan begins: of the upload with this name."""

    number: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """It has more content."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """It has all."""

    number: int


@dataclass(frozen=True, slots=True)
class Drop:
    """It is of no use any more."""

    number: int


Order: TypeAlias = Begin | Content | End | Drop
