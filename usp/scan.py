"""How uploads are scanned, as an administrator writes it on a Rule, and what a scan may find (see docs/scanning.md).

The scanner is an ICAP server (RFC 3507), reached the way that the targets are: through the Deployment's tunnel if it
has one, else directly.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from usp.policy import NamePattern

_URL: Final = re.compile(
    r"icap://(?P<host>[a-zA-Z0-9_.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-\"$-~]{1,512})"
)
PORT: Final = 1344


def _url(text: str) -> str:
    found = _URL.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or PORT) <= 65535:
        raise ValueError("must be such as icap://scanner.internal:1344/avscan")
    return text


class Otherwise(StrEnum):
    """What becomes of a file that could not be scanned."""

    BLOCK = "block"
    ALLOW = "allow"


class Scan(BaseModel):
    """Uploads are scanned by an ICAP server before they appear at the target."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, Field(max_length=1024), AfterValidator(_url)] = Field(
        description="The service, such as icap://scanner.internal:1344/avscan"
    )
    on_failure: Otherwise = Field(
        default=Otherwise.BLOCK, description="block: a file that the scanner gave no verdict on is refused"
    )
    max_size: int | None = Field(default=None, ge=1, le=2**63 - 1, description="Bytes of a file that is scanned")
    on_oversize: Otherwise = Field(default=Otherwise.BLOCK, description="What becomes of a file above max_size")
    exclude: tuple[NamePattern, ...] = Field(
        default=(), max_length=64, description="Names of files that are not scanned, such as *.csv; in either case"
    )
    timeout: int = Field(default=60, ge=1, le=3600, description="Seconds that the scanner may take for one step")

    @property
    def service(self) -> Service:
        found = _URL.fullmatch(self.url)
        assert found, "as its type says"
        return Service(found["host"].strip("[]"), int(found["port"] or PORT), found["path"])


class Service(NamedTuple):
    """What the URL says."""

    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"icap://{host}:{self.port}{self.path}"


class Finding(StrEnum):
    """What a scan came to."""

    CLEAN = "clean"
    INFECTED = "infected"  # or refused by the scanner for another reason
    FAILED = "failed"
    TOO_LARGE = "too_large"
    EXCLUDED = "excluded"


class Verdict(NamedTuple):
    """`text`: the threat's name, or what went wrong."""

    finding: Finding
    text: str = ""
