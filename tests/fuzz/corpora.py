"""The corpora of the fuzz targets: `corpus/TARGET.hex`, an input in each line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"


def corpus(name: str) -> list[bytes]:
    file = CORPUS / f"{name}.hex"
    return [bytes.fromhex(line) for line in file.read_text().split()] if file.exists() else []
