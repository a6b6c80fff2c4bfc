"""What the two ends of a tunnel link say to each other once both keys are proven: one JSON object per line.

The USP Server opens the one session channel, subsystem `usp-hello`; the USP Client says `Hello` (the SSH handshake has
no place for its name), the server answers `Welcome` or `HelloRefused`. The channel then stays open as long as the link,
and on it the client says `Draining` when it wants no new connections. Unknown fields are ignored, so that one release
of skew works both ways: each end speaks its own protocol version and the one before.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from usp.errors import UspError
from usp.model import Name
from usp.snapshot import PROTOCOL

SUBSYSTEM: Final = "usp-hello"
LIMIT: Final = 4096
"""The longest line, in bytes."""


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class Hello(_Message):
    """`instance` is new with every start of a client: links of another instance are left over from before."""

    op: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    name: Name
    version: str = Field(max_length=64, pattern=r"^[!-~]*$")
    instance: str = Field(pattern=r"^[0-9a-zA-Z-]{8,64}$")


class Welcome(_Message):
    """The link is up, in worker `slot` of `slots`: the client is expected to hold one link for each slot."""

    op: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    server: Name
    slot: int = Field(ge=0)
    slots: int = Field(ge=1, le=1024)


class HelloRefused(_Message):
    """`code`: duplicate (that slot has a live link of this instance), name, protocol, or malformed."""

    op: Literal["refused"] = "refused"
    code: str = Field(max_length=64)
    message: str = Field(max_length=512)


class Draining(_Message):
    """From the client: it shuts down; what runs may end, nothing new. From the server: this worker takes nothing new,
    because an upgrade has put another in its place; the client is to make a link to that one, and to leave this one to
    what runs through it."""

    op: Literal["draining"] = "draining"


FromServer = Annotated[Welcome | HelloRefused | Draining, Field(discriminator="op")]
FromClient = Annotated[Hello | Draining, Field(discriminator="op")]


class _ServerLine(BaseModel):
    message: FromServer


class _ClientLine(BaseModel):
    message: FromClient


def agree(mine: int, theirs: int) -> int | None:
    """The protocol version that both ends speak: the older of the two, if the newer end still knows it."""
    spoken = min(mine, theirs)
    return spoken if spoken >= max(mine, theirs) - 1 and spoken >= 1 else None


def encode(message: Hello | Draining | Welcome | HelloRefused) -> bytes:
    line = message.model_dump_json().encode() + b"\n"
    assert len(line) <= LIMIT
    return line


Line = TypeVar("Line", _ServerLine, _ClientLine)


def from_server(line: bytes) -> Welcome | HelloRefused | Draining:
    return _decode(_ServerLine, line).message


def from_client(line: bytes) -> Hello | Draining:
    return _decode(_ClientLine, line).message


def _decode(model: type[Line], line: bytes) -> Line:
    try:
        return model.model_validate_json(b'{"message":' + line + b"}")
    except ValidationError:
        raise UspError("tunnel.hello_refused", "the other end of the tunnel sent a malformed line") from None


class Lines:
    """Cuts a stream into lines, however it was chunked. A line that is too long is refused before it is complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > LIMIT for line in (*lines, self._rest)):
            raise UspError("tunnel.hello_refused", f"the other end of the tunnel sent a line of over {LIMIT} bytes")
        return lines
