"""Quarantine: uploads stay under a temporary name at the target until a content scan has let them pass.

A stage between the Relay and the target, where a Rule has `scan`; elsewhere there is none. The Relay has seen to it
that all is well-formed and allowed, and its paths are the target's. Pure: what is to be scanned goes out as orders,
verdicts come in by `judged`, and each step at the target (`uploads`) has the id of the partner's request that it
belongs to, which nobody else can use until that is answered.

    partner's request              what the target gets                               what the partner gets
    ----------------------------   ------------------------------------------------   ----------------------------------
    OPEN to write                  LSTAT of the name, OPEN of a temporary name        HANDLE
    WRITE                          the same; its content is to be scanned             STATUS
    CLOSE                          CLOSE; [what came in disorder is read back];       STATUS, when all of this is done
                                   after the verdict: rename to the name, or REMOVE
    STAT, LSTAT, SETSTAT, lsetstat the same, of the temporary name                    the answer
      of a name that is written
    READDIR                        the same                                           NAME without temporary names
    WRITE on any other handle                                                         STATUS PERMISSION_DENIED
    anything on a temporary name                                                      STATUS NO_SUCH_FILE
    anything else                  the same                                           the answer
    (it goes)                      CLOSE, REMOVE of what it did not close

What is scanned is what arrived, in the order of the file. Writes that overtake each other are put in order, within
bounds. Whatever makes the file another one (writing anew what was written, a write that the target refused, a gap,
append, a size that is set, copy-data) makes it *disordered*: then it is read back once it is closed, and that is
scanned. An OPEN that would keep what a file holds (to resume it, to change it in place) is refused: what is in it
already was never seen here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from struct import Struct
from typing import Final, NamedTuple

from usp.errors import UspError
from usp.scan import Finding, Otherwise, Scan, Verdict
from usp.sftp import packets, wire
from usp.sftp.framing import DROP, FORWARD, MORE, Framer
from usp.sftp.framing import Verdict as Way
from usp.sftp.globs import names
from usp.sftp.ops import CLOSE, EXTENSIONS, OPEN, OPS, OpenFlag, Packet, Status
from usp.sftp.orders import Drop, Order
from usp.sftp.packets import Request
from usp.sftp.records import LeftBehind, Scanned
from usp.sftp.uploads import Phase, Then, Upload, reserved, reserved_in
from usp.sftp.wire import U32, U64, Bytes, Reader

_ID: Final = Struct(">BI")
_ID_U32: Final = Struct(">BII")
_INIT, _READ, _WRITE = int(Packet.INIT), int(Packet.READ), int(Packet.WRITE)
_FSETSTAT, _READDIR = OPS[10], OPS[12]
_COPY: Final = EXTENSIONS[b"copy-data"]
_OF_THE_FILE: Final = frozenset({OPS[7], OPS[9], OPS[17], EXTENSIONS[b"lsetstat@openssh.com"]})
"""LSTAT, SETSTAT, STAT, lsetstat: what partners ask or set by name while they write."""

NOT_WRITABLE: Final = "the file is not open to write"


class Flow(NamedTuple):
    """What to do now. `to_relay` is for the Relay, as from the target. `wrong`: the target broke the protocol."""

    to_target: Sequence[Bytes] = ()
    to_relay: Sequence[Bytes] = ()
    orders: Sequence[Order] = ()
    records: Sequence[Scanned | LeftBehind] = ()
    wrong: str = ""


class Quarantine:
    """Of one SFTP channel. `token` makes up the part of a name that nobody can guess."""

    def __init__(self, scan: Scan, token: Callable[[], str], packet_max: int) -> None:
        self.posix_rename = False
        self._max_size = scan.max_size
        self._excluded = names(name.casefold() for name in scan.exclude)
        self._passing = {Finding.CLEAN}
        self._passing |= {Finding.FAILED} if scan.on_failure is Otherwise.ALLOW else set()
        self._passing |= {Finding.TOO_LARGE} if scan.on_oversize is Otherwise.ALLOW else set()
        self._token = token
        self._requests = Framer(self._request, packet_max)
        self._answers = Framer(self._answer, packet_max)
        self._greeted = False
        self._ids: set[int] = set()  # of requests that the target has not answered
        self._then: dict[int, Then] = {}
        self._writes: dict[int, Upload] = {}
        self._live: dict[Upload, None] = {}  # in the order in which they began
        self._written: dict[bytes, Upload] = {}  # by the handle that the partner has
        self._unscanned: set[bytes] = set()  # handles of excluded files
        self._scans: dict[int, Upload] = {}
        self._numbers = count(1)
        self._asking: list[Bytes] = []
        self._replies: list[Bytes] = []
        self._early: list[bytes] = []  # they follow VERSION
        self._orders: list[Order] = []
        self._records: list[Scanned | LeftBehind] = []

    @property
    def settled(self) -> bool:
        """No upload is on its way."""
        return not self._live

    def from_relay(self, pieces: Sequence[Bytes]) -> Flow:
        """What the Relay sends to the target."""
        out: list[Bytes] = []
        for piece in pieces:
            self._requests.feed(piece, out)
        return self._flow(to_target=out)

    def from_target(self, data: Bytes) -> Flow:
        out: list[Bytes] = []
        wrong = ""
        try:
            self._answers.feed(data, out)
        except UspError as error:
            wrong = error.message
        return self._flow(to_relay=out, wrong=wrong)

    def judged(self, number: int, verdict: Verdict) -> Flow:
        """A scan has come to a verdict, perhaps before it has seen all."""
        if upload := self._scans.pop(number, None):
            upload.judged(verdict)
        return self._flow()

    def more(self, number: int) -> Flow:
        """A scan can take more."""
        upload = self._scans.get(number)
        if upload and upload.phase is Phase.PAUSED:
            upload.more()
        return self._flow()

    def eof(self) -> Flow:
        """The partner will send no more: what it has not closed will never be complete."""
        for upload in tuple(self._live):
            if upload.phase in (Phase.OPENING, Phase.OPEN):
                upload.abandon()
        return self._flow()

    def abandon(self) -> Flow:
        """The partner has gone, and would not hear of a verdict: what it has no answer about does not appear."""
        for upload in tuple(self._live):
            upload.abandon()
        return self._flow()

    def finish(self) -> list[LeftBehind]:
        """It is over: what could not be cleared away."""
        left = [LeftBehind(each.temporary, each.real, None) for each in self._live if each.phase is not Phase.OPENING]
        self._live = {}
        return left

    def _flow(self, to_target: Sequence[Bytes] = (), to_relay: Sequence[Bytes] = (), wrong: str = "") -> Flow:
        flow = Flow([*to_target, *self._asking], [*to_relay, *self._replies], self._orders, self._records, wrong)
        self._asking, self._replies, self._orders, self._records = [], [], [], []
        return flow

    # Requests

    def _request(self, data: Bytes, at: int, have: int, length: int) -> Way | bytes:
        """Packets pass whole: what an upload asks the target must not come in the middle of one."""
        if have < length:
            return MORE
        kind, request_id = _ID.unpack_from(data, at)
        if kind == _WRITE:
            return self._write(request_id, data, at, length)
        if kind == _READ:
            self._ids.add(request_id)
        elif kind != _INIT:
            return self._by_table(request_id, bytes(data[at : at + length]))
        return FORWARD

    def _write(self, request_id: int, data: Bytes, at: int, length: int) -> Way:
        head = 21 + U32.unpack_from(data, at + 5)[0]
        handle = bytes(data[at + 9 : at + head - 12])
        upload = self._written.get(handle)
        if upload:
            if upload.refused is None:
                offset: int = U64.unpack_from(data, at + head - 12)[0]
                upload.wrote(offset, bytes(data[at + head : at + length]))
            if upload.refused is not None:
                return self._refuse(request_id, *upload.refused)
            upload.unanswered += 1
            self._writes[request_id] = upload
        elif handle not in self._unscanned:
            return self._refuse(request_id, Status.PERMISSION_DENIED, NOT_WRITABLE)
        self._ids.add(request_id)
        return FORWARD

    def _by_table(self, request_id: int, body: bytes) -> Way | bytes:
        op = packets.find_op(body)
        assert not isinstance(op, str), "the Relay lets nothing else pass"
        request = packets.decode_request(op, body)
        if any(map(reserved, request.paths)):
            return self._refuse(request_id, Status.NO_SUCH_FILE, "No such file")
        if op is OPEN and request.pflags & (OpenFlag.WRITE | OpenFlag.APPEND):
            return self._open(request)
        if op is CLOSE:
            self._close(request)
        elif op is _READDIR:
            self._then[request_id] = partial(self._listed, request)
        elif op is _COPY or (op is _FSETSTAT and _sets_size(request)):
            if not self._changed(request.handles[-1]):
                return self._refuse(request_id, Status.PERMISSION_DENIED, NOT_WRITABLE)
        elif op in _OF_THE_FILE and (upload := self._of_name(request.paths[0])):
            if _sets_size(request):
                return self._refuse(request_id, Status.PERMISSION_DENIED, "the file is being uploaded")
            self._ids.add(request_id)
            return packets.encode_request(request._replace(values=(upload.temporary, *request.values[1:])))
        self._ids.add(request_id)
        return FORWARD

    def _open(self, request: Request) -> Way | bytes:
        path = request.paths[0].rstrip(b"/")
        name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape").casefold()
        if self._excluded.fullmatch(name):
            self._records.append(Scanned(path, Finding.EXCLUDED, "", 0, True))
            self._ids.add(request.id)
            self._then[request.id] = self._opened_unscanned
            return FORWARD
        upload = Upload(self, request, self._token(), self._max_size)
        self._live[upload] = None
        self._ids.add(request.id)
        self._then[request.id] = upload.looked
        return upload.begin()

    def _opened_unscanned(self, body: bytes) -> Way:
        if body[0] == Packet.HANDLE:
            self._unscanned.add(packets.decode_handle(body))
        return FORWARD

    def _close(self, request: Request) -> None:
        handle = request.handles[0]
        self._unscanned.discard(handle)
        if upload := self._written.pop(handle, None):
            upload.close(request.id)
            self._then[request.id] = upload.closed

    def _changed(self, handle: bytes) -> bool:
        """By something else than WRITE; whether it may be."""
        if upload := self._written.get(handle):
            upload.disorder()
        return upload is not None or handle in self._unscanned

    def _of_name(self, path: bytes) -> Upload | None:
        """The last one of that name that is on its way."""
        name = path.rstrip(b"/")
        named = (each for each in reversed(self._live) if each.real == name)
        return next((each for each in named if each.phase not in (Phase.OPENING, Phase.ENDING)), None)

    def _refuse(self, request_id: int, status: Status, text: str) -> Way:
        reply = packets.status(request_id, status, text)
        if not self._greeted:
            self._early.append(reply)
        elif self._answers.insert(reply):
            self._replies.append(reply)
        return DROP

    # Answers

    def _answer(self, data: Bytes, at: int, have: int, length: int) -> Way | bytes:
        if have < 9 and have < length:
            return MORE
        if not self._greeted:
            return self._version(data, at, have, length)
        if length < 9:
            return FORWARD  # the Relay's to judge
        kind, request_id, number = _ID_U32.unpack_from(data, at)
        if request_id in self._then:
            if have < length:
                return MORE
            self._ids.discard(request_id)
            return self._then.pop(request_id)(bytes(data[at : at + length]))
        self._ids.discard(request_id)
        if upload := self._writes.pop(request_id, None):
            upload.unanswered -= 1
            if kind != Packet.STATUS or number != Status.OK:
                upload.disorder()
        return FORWARD

    def _version(self, data: Bytes, at: int, have: int, length: int) -> Way | bytes:
        if have < length:
            return MORE
        self._greeted = True
        if data[at] == Packet.VERSION:
            _, extensions = packets.decode_version(bytes(data[at : at + length]))
            self.posix_rename = any(name == b"posix-rename@openssh.com" for name, _ in extensions)
        early, self._early = self._early, []
        return U32.pack(length) + bytes(data[at : at + length]) + b"".join(early) if early else FORWARD

    def _listed(self, request: Request, body: bytes) -> Way | bytes:
        """An answer to READDIR."""
        if body[0] != Packet.NAME or not reserved_in(body):
            return FORWARD
        reader = Reader(body, 5)
        kept = []
        for _ in range(reader.u32()):
            start = reader.position
            name = reader.string()
            reader.string()
            packets.read_attrs(reader)
            if not reserved(name):
                kept.append(reader.since(start))
        if not kept:  # an answer without names would say that there are no more
            self.ask(request, partial(self._listed, request))
            return DROP
        return wire.packet(Packet.NAME, body[1:5], wire.u32(len(kept)), *kept)

    # What an upload asks of its host (see `uploads`)

    def ask(self, request: Request, then: Then) -> None:
        self._ids.add(request.id)
        self._then[request.id] = then
        self._asking.append(packets.encode_request(request))

    def free_id(self) -> int:
        used = self._ids | {each.id for each in self._live}
        return next(each for each in count(1) if each not in used)

    def number(self, upload: Upload) -> int:
        number = next(self._numbers)
        self._scans[number] = upload
        return number

    def order(self, order: Order) -> None:
        if isinstance(order, Drop):
            self._scans.pop(order.number, None)
        self._orders.append(order)

    def record(self, record: Scanned | LeftBehind) -> None:
        self._records.append(record)

    def passes(self, verdict: Verdict) -> bool:
        return verdict.finding in self._passing

    def opened(self, upload: Upload) -> None:
        self._written[upload.handle] = upload

    def ended(self, upload: Upload) -> None:
        self._live.pop(upload, None)


def _sets_size(request: Request) -> bool:
    return request.attrs is not None and request.attrs.size is not None
