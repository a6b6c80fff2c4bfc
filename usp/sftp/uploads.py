"""One upload in quarantine: its steps at the target, from the LSTAT of its name to the answer to its CLOSE.

    OPENING -> OPEN -> CLOSING -> [READING <-> PAUSED] -> WAITING -> ENDING

Each step asks the target something under the id of the partner's request that it belongs to, and says what the Relay
gets in place of the answer. See `quarantine` for what all of it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from re import IGNORECASE
from re import compile as regex
from stat import S_IFMT, S_ISREG
from typing import Final, Protocol, TypeAlias

from usp.scan import Finding, Verdict
from usp.sftp import packets, wire
from usp.sftp.framing import DROP, FORWARD
from usp.sftp.framing import Verdict as Way
from usp.sftp.ops import CLOSE, EXTENSIONS, OPEN, OPS, READ, Op, OpenFlag, Packet, Status
from usp.sftp.orders import Begin, Content, Drop, End, Order
from usp.sftp.packets import Attrs, Request
from usp.sftp.records import LeftBehind, Scanned
from usp.sftp.wire import Reader, malformed

HELD: Final = 2 << 20
"""Bytes of a file that are kept because what comes before them has not arrived."""
READ_SIZE: Final = 32 * 1024
"""Bytes that are read back at once: what every server gives."""

_PREFIX: Final = b".usp-scan-"
_RESERVED: Final = regex(rb"(?:^|[/\\])" + _PREFIX.replace(b".", rb"\."), IGNORECASE)
_LSTAT, _REMOVE, _RENAME = OPS[7], OPS[13], OPS[18]
_POSIX_RENAME: Final = EXTENSIONS[b"posix-rename@openssh.com"]
_PERMISSIONS: Final = 0x4
_MODE: Final = 0o777

IN_PLACE: Final = "uploads are scanned here: a file cannot be resumed or changed in place, send all of it"
REFUSED: Final[dict[Finding, tuple[Status, str]]] = {
    Finding.INFECTED: (Status.PERMISSION_DENIED, "refused by the content scan"),
    Finding.TOO_LARGE: (Status.PERMISSION_DENIED, "the file is too large to be scanned"),
    Finding.FAILED: (Status.FAILURE, "the content scan is not available, try again later"),
}


def reserved(path: bytes) -> bool:
    """Whether it is, or leads through, a temporary name of anybody's."""
    return _RESERVED.search(path) is not None


def reserved_in(body: bytes) -> bool:
    """Whether such a name may stand in a packet: cheap."""
    return _PREFIX in body.lower()


Then: TypeAlias = Callable[[bytes], Way | bytes]
"""Takes an answer of the target; what the Relay gets in its place."""


class Host(Protocol):
    """Whose upload it is: the quarantine of its channel."""

    posix_rename: bool

    def ask(self, request: Request, then: Then) -> None: ...

    def free_id(self) -> int: ...

    def number(self, upload: Upload) -> int: ...

    def order(self, order: Order) -> None: ...

    def record(self, record: Scanned | LeftBehind) -> None: ...

    def passes(self, verdict: Verdict) -> bool: ...

    def opened(self, upload: Upload) -> None: ...

    def ended(self, upload: Upload) -> None: ...


class Phase(Enum):
    """Where an upload is."""

    OPENING = "the target was asked about the name, or to open the temporary one"
    OPEN = "the partner writes"
    CLOSING = "closed by the partner"
    READING = "read back"
    PAUSED = "read back, when the scan can take more"
    WAITING = "for the verdict"
    ENDING = "gets its name, or is removed"


class Upload:
    """`max_size`: bytes of what is scanned."""

    def __init__(self, host: Host, request: Request, token: str, max_size: int | None) -> None:
        self.phase = Phase.OPENING
        self.real = request.paths[0].rstrip(b"/") or b"/"
        self.temporary = b"".join((*self.real.rpartition(b"/")[:2], _PREFIX, token.encode("ascii")))
        self.handle = b""
        self.unanswered = 0  # writes
        self.verdict: Verdict | None = None
        self.abandoned = False
        self._host = host
        self._request = request
        self.id = request.id
        self._max_size = max_size
        self._replaces = False
        self._number = 0  # of its scan; 0: none
        self._position = 0  # as far as it was scanned
        self._size = 0
        self._held: dict[int, bytes] = {}
        self._held_bytes = 0
        self._disordered = bool(request.pflags & OpenFlag.APPEND)
        self._answer = b""

    @property
    def refused(self) -> tuple[Status, str] | None:
        """What more of it is answered, if nothing can help it any more."""
        return None if self.verdict is None or self._host.passes(self.verdict) else REFUSED[self.verdict.finding]

    # It is opened

    def begin(self) -> bytes:
        """What is sent in place of the OPEN."""
        return packets.encode_request(Request(_LSTAT, self.id, (self.real,)))

    def looked(self, body: bytes) -> Way | bytes:
        pflags = self._request.pflags
        attrs = Attrs()
        if body[0] == Packet.ATTRS:
            _, attrs = packets.read_attrs(Reader(body, 5))
            if text := self._problem(attrs):
                return self._not_opened(packets.status(self.id, *text))
            self._replaces = True
        elif _failure(body) == Status.NO_SUCH_FILE and not pflags & OpenFlag.CREAT:
            return self._not_opened(FORWARD)
        else:
            self._replaces = bool(pflags & OpenFlag.TRUNC) and not pflags & OpenFlag.EXCL
        if self.abandoned:
            return self._not_opened(self._gone())
        wanted = pflags & (OpenFlag.READ | OpenFlag.WRITE | OpenFlag.APPEND)
        wanted |= OpenFlag.WRITE | OpenFlag.CREAT | OpenFlag.EXCL
        raw = self._request.values[2]
        if attrs.permissions is not None:  # as they stay when a file that is there is written anew
            raw = wire.u32(_PERMISSIONS) + wire.u32(attrs.permissions & _MODE)
        self._host.ask(Request(OPEN, self.id, (self.temporary, int(wanted), raw)), self._opened)
        return DROP

    def _problem(self, attrs: Attrs) -> tuple[Status, str] | None:
        """Why what is there cannot be replaced."""
        pflags = self._request.pflags
        mode = attrs.permissions or 0
        if S_IFMT(mode) and not S_ISREG(mode):  # some targets do not tell the type
            return Status.FAILURE, "not a regular file: uploads are scanned here, and replace none but those"
        if pflags & OpenFlag.CREAT and pflags & OpenFlag.EXCL:
            return Status.FAILURE, "the file is there already"
        if not pflags & OpenFlag.TRUNC and attrs.size != 0:
            return Status.PERMISSION_DENIED, IN_PLACE
        return None

    def _opened(self, body: bytes) -> Way | bytes:
        if body[0] != Packet.HANDLE:
            _failure(body)
            return self._not_opened(FORWARD)
        self.handle = packets.decode_handle(body)
        self.phase = Phase.OPEN
        if self.abandoned:
            gone = self._gone()
            self._sweep()
            return gone
        self._host.opened(self)
        return FORWARD

    def _not_opened(self, answer: Way | bytes) -> Way | bytes:
        self._host.ended(self)
        return answer

    def _gone(self) -> bytes:
        return packets.status(self.id, Status.FAILURE, "the upload was abandoned")

    # It is written

    def wrote(self, offset: int, data: bytes) -> None:
        if not data:
            return
        end = offset + len(data)
        self._size = max(self._size, end)
        if self._max_size is not None and end > self._max_size:
            self._settle(Verdict(Finding.TOO_LARGE, f"more than {self._max_size} bytes"))
        if self._disordered or self.verdict is not None:
            if offset < self._position:
                self.disorder()
            return
        if offset == self._position:
            self._scan(data)
            while (more := self._held.pop(self._position, None)) is not None:
                self._held_bytes -= len(more)
                self._scan(more)
            if self._held and min(self._held) < self._position:
                self.disorder()
        elif offset > self._position and offset not in self._held and self._held_bytes + len(data) <= HELD:
            self._held[offset] = data
            self._held_bytes += len(data)
        else:
            self.disorder()

    def disorder(self) -> None:
        """What was scanned is not what the file is going to be."""
        self._disordered = True
        self._held, self._held_bytes = {}, 0
        self._drop()
        if self.verdict is not None and self.refused is None and self.verdict.finding is not Finding.TOO_LARGE:
            self.verdict = None

    def _scan(self, data: bytes) -> None:
        if not self._number:
            self._number = self._host.number(self)
            self._host.order(Begin(self._number, self.real))
        self._position += len(data)
        self._host.order(Content(self._number, data))

    def _settle(self, verdict: Verdict) -> None:
        """It is known what becomes of it, whatever a scan would say."""
        if self.refused is None:
            self._drop()
            self.verdict = verdict

    def _drop(self) -> None:
        if self._number:
            self._host.order(Drop(self._number))
            self._number = 0

    # It is closed

    def close(self, request_id: int) -> None:
        """The partner's CLOSE passes; `closed` takes the answer."""
        self.phase, self.id = Phase.CLOSING, request_id
        if self._held:
            self.disorder()
        if not self._disordered and self.verdict is None:
            if self._number:
                self._host.order(End(self._number))
            else:
                self.verdict = Verdict(Finding.CLEAN, "empty")

    def closed(self, body: bytes) -> Way | bytes:
        if _code(body) != Status.OK:
            self._remove(wire.packet(body[0], body[1:]))
        elif self.abandoned:
            self._remove(self._gone())
        else:
            if self.unanswered:
                self.disorder()
            self._await()
        return DROP

    def _await(self) -> None:
        if self.verdict is not None:
            self._decide(self.verdict)
        elif self._disordered:
            self.phase = Phase.READING
            self._ask(OPEN, self._reopened, self.temporary, int(OpenFlag.READ), wire.u32(0))
        else:
            self.phase = Phase.WAITING

    def judged(self, verdict: Verdict) -> None:
        """By the scan, perhaps before it has seen all."""
        self._number, self.verdict = 0, verdict
        if self.phase is Phase.WAITING:
            self._decide(verdict)
        elif self.phase is Phase.PAUSED:
            self._close_read()

    # It is read back

    def _reopened(self, body: bytes) -> Way:
        if body[0] != Packet.HANDLE:
            code = _failure(body)
            self._decide(Verdict(Finding.FAILED, f"it cannot be read back: status {code}"))
            return DROP
        self.handle = packets.decode_handle(body)
        self._position = 0
        self.more()
        return DROP

    def more(self) -> None:
        """The scan can take more."""
        self.phase = Phase.READING
        self._ask(READ, self._read, self.handle, self._position, READ_SIZE)

    def _read(self, body: bytes) -> Way:
        if body[0] == Packet.DATA:
            data = Reader(body, 5).string()
            if not 0 < len(data) <= READ_SIZE:
                raise malformed("DATA is empty, or longer than was asked for")
            self.phase = Phase.PAUSED
            self._size = max(self._size, self._position + len(data))
            if self._max_size is not None and self._size > self._max_size:
                self._settle(Verdict(Finding.TOO_LARGE, f"more than {self._max_size} bytes"))
            if self.verdict is None and not self.abandoned:
                self._scan(data)
                return DROP
        elif (code := _failure(body)) != Status.EOF:
            self._settle(Verdict(Finding.FAILED, f"it cannot be read back: status {code}"))
        elif self._number:
            self._host.order(End(self._number))
        elif self.verdict is None:
            self.verdict = Verdict(Finding.CLEAN, "empty")
        self._close_read()
        return DROP

    def _close_read(self) -> None:
        self.phase = Phase.READING
        self._ask(CLOSE, self._closed_read, self.handle)

    def _closed_read(self, body: bytes) -> Way:
        _code(body)
        self.phase = Phase.WAITING
        if self.abandoned:
            self._remove(self._gone())
        elif self.verdict is not None:
            self._decide(self.verdict)
        return DROP

    # It ends

    def _decide(self, verdict: Verdict) -> None:
        self.phase, self.verdict = Phase.ENDING, verdict
        passes = self._host.passes(verdict)
        self._host.record(Scanned(self.real, verdict.finding, verdict.text, self._size, passes))
        if passes:
            self._rename(self._renamed)
        else:
            self._remove(packets.status(self.id, *REFUSED[verdict.finding]))

    def _rename(self, then: Then) -> None:
        op = _POSIX_RENAME if self._replaces and self._host.posix_rename else _RENAME
        self._ask(op, then, self.temporary, self.real)

    def _renamed(self, body: bytes) -> Way:
        if _code(body) == Status.OK:
            self._host.ended(self)
            return FORWARD
        if self._replaces and not self._host.posix_rename:  # version 3 may not rename onto a file
            self._ask(_REMOVE, self._replaced, self.real)
        else:
            self._remove(wire.packet(body[0], body[1:]))
        return DROP

    def _replaced(self, body: bytes) -> Way:
        _code(body)
        self._ask(_RENAME, self._renamed_again, self.temporary, self.real)
        return DROP

    def _renamed_again(self, body: bytes) -> Way:
        self._replaces = False
        return self._renamed(body)

    def _remove(self, answer: bytes) -> None:
        self.phase, self._answer = Phase.ENDING, answer
        self._drop()
        self._ask(_REMOVE, self._removed, self.temporary)

    def _removed(self, body: bytes) -> Way | bytes:
        if code := _code(body):
            self._host.record(LeftBehind(self.temporary, self.real, code))
        self._host.ended(self)
        return self._answer or DROP

    def abandon(self) -> None:
        """Nobody waits for it any more: it is not to appear."""
        self.abandoned = True
        if self.phase is Phase.OPEN:
            self._sweep()
        elif self.phase is Phase.WAITING:
            self._remove(self._gone())
        elif self.phase is Phase.PAUSED:
            self._close_read()

    def _sweep(self) -> None:
        """It was not closed: there is no request of the partner's for its last steps."""
        self.phase = Phase.ENDING
        self._drop()
        self.id = self._host.free_id()
        self._ask(CLOSE, self._swept, self.handle)

    def _swept(self, body: bytes) -> Way:
        _code(body)
        self._remove(b"")
        return DROP

    def _ask(self, op: Op, then: Then, *values: int | bytes) -> None:
        self._host.ask(Request(op, self.id, values), then)


def _code(body: bytes) -> int:
    """Of a STATUS, which it must be."""
    if body[0] != Packet.STATUS:
        raise malformed(f"an answer of type {body[0]}")
    return Reader(body, 5).u32()


def _failure(body: bytes) -> int:
    """Of a STATUS in place of what was asked for."""
    if (code := _code(body)) == Status.OK:
        raise malformed("STATUS OK without what was asked for")
    return code
