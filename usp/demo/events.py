"""The audit lines of all servers, as they come, made readable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class Events:
    def __init__(self, files: Sequence[Path], *, as_json: bool) -> None:
        self._offsets = dict.fromkeys(files, 0)
        self._as_json = as_json

    def lines(self) -> Iterator[str]:
        """What was written since the last call; a line that is not finished yet waits for the next."""
        for file, offset in self._offsets.items():
            if not file.exists():
                continue
            with file.open("rb") as audit:
                audit.seek(offset)
                for line in audit:
                    if line.endswith(b"\n"):
                        self._offsets[file] += len(line)
                        yield line.decode().rstrip() if self._as_json else readable(json.loads(line))


def readable(event: dict[str, Any]) -> str:
    """`12:00:00 session.ended username=partner outcome=completed`"""
    rest = {key: value for key, value in event.items() if key not in ("time", "event") and value not in ("", None)}
    clock = str(event.get("time", ""))[11:19]
    return " ".join([clock, str(event.get("event", "?")), *(f"{key}={value}" for key, value in rest.items())])
