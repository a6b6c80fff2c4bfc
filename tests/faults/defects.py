"""What the scenarios found, and what shows that it is mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Defect:
    what: str
    test: str


DEFECTS: Final[tuple[Defect, ...]] = ()
