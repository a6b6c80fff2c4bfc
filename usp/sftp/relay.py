r"""The session machine: what passes between one partner and one target, and what does not.

The partner's SFTP channel and the target's are a byte stream in each direction; the session moves them, this decides.
It is a man in the middle who understands every packet but copies none that he does not change.

A conversation has three states, and only the packets that the table names are legal in them; anything else ends the
session with a `Close` that says who is to blame. The first packet is the partner's INIT, forwarded as version 3 and
without extensions; the second is the target's VERSION, forwarded with the extensions that `ops` knows. Then
requests and answers flow, in any order, tied by the request's id. The state is which look (see `framing`) is installed
at each stream, so that it costs nothing to ask for it.

    state     partner may send      target may send       then
    -------   -------------------   -------------------   -------
    START     INIT (version >= 3)   nothing               GREETED
    GREETED   requests              VERSION (exactly 3)   OPEN
    OPEN      requests              answers               OPEN
    any       anything wrong        anything wrong        CLOSED

A request takes the first of these ways that fits:

    what it is                                          what happens
    ------------------------------------------------    ------------------------------------------------------------
    too short for its fields, or its id is still open   Close: the partner broke the protocol
    more requests open than `Limits.requests`           Close: limit
    not in the table of operations                      STATUS OP_UNSUPPORTED, Denied
    a path with NUL, or longer than `Limits.path`       STATUS FAILURE, Denied
    on a handle that the target did not give            STATUS FAILURE, Denied
    an open above `Limits.handles`                      STATUS FAILURE, Denied
    it would move, remove or link the virtual root      STATUS PERMISSION_DENIED, Denied
    denied by the policy                                STATUS as the policy says, Denied
    the same, by a policy that only observes            Observed, and on with it
    READ or WRITE on a handle that is not open for it   STATUS PERMISSION_DENIED, Denied, if a policy enforces
    a WRITE that ends beyond the policy's size          as the policy says, and told once for each file
    home-directory, with a virtual root                 NAME /
    anything else                                       forwarded: paths in normal form, nothing after the last field

Of the target's answers each must name an open request and be of the type that the table gives for it, or STATUS, and
hold what that type has (see `answers`):

    answer            to              what happens, besides forwarding
    ---------------   -------------   ------------------------------------------------------------------------------
    HANDLE            OPEN, OPENDIR   the handle may be used from now on; Opened
    DATA              READ            counted; more than was asked for is an error
    STATUS            WRITE           counted when ok
    STATUS            CLOSE           FileClosed (the handle was dead when CLOSE was forwarded, whatever the answer is)
    STATUS            what changes    Changed
    STATUS            OPEN, OPENDIR   Opened, with that status
    EXTENDED_REPLY    limits          forwarded with nothing in it that this relay would not let pass
    NAME              REALPATH of .   the home is known from now on, to the policy
    NAME, STATUS      anything        with a virtual root: as `root` says
    STATUS OK         what has data   an error

An answer of our own may not cut into a packet of the target that is half through: it waits for its end (`framing`);
nor come before VERSION.
One request gets one answer: STATUS from here, or whatever the target said, never both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, Literal, NamedTuple

from usp.errors import Kind, UspError
from usp.sftp import answers, packets
from usp.sftp.files import File, latest, opened
from usp.sftp.framing import DROP, FORWARD, MORE, Framer, Verdict
from usp.sftp.ops import CLOSE, EXTENSIONS, LIMITS, OPEN, OPENDIR, OPS, READ, VERSION, WRITE, Op, Packet, Status
from usp.sftp.packets import HANDLE_MAX, Request
from usp.sftp.paths import normalise, problem
from usp.sftp.policy import AllowAll, Context, Deny, Policy
from usp.sftp.records import NOTHING, Changed, Denied, Observed, Record, Spent
from usp.sftp.root import HOME, Root, home, status
from usp.sftp.steps import Close as Close
from usp.sftp.steps import Limits as Limits
from usp.sftp.steps import Step as Step
from usp.sftp.wire import U32, Bytes, malformed

# Plain integers: comparing with an IntEnum's member costs more than the rest of a look.
_T_READ, _T_WRITE, _T_STATUS, _T_DATA = int(Packet.READ), int(Packet.WRITE), int(Packet.STATUS), int(Packet.DATA)
_TRANSFERS: Final = frozenset({_T_READ, _T_WRITE})
_ID: Final = Struct(">BI")  # type, id
_ID_U32: Final = Struct(">BII")  # type, id, and what WRITE, READ, STATUS and DATA have next
_OFFSET_SIZE: Final = Struct(">QI")  # of READ and WRITE, after the handle
_REALPATH: Final = OPS[16]
_HOME_DIRECTORY: Final = EXTENSIONS[b"home-directory"]
_TELLS_NOTHING: Final = frozenset({int(Status.OK), int(Status.EOF)})
_OVERHEAD: Final = 1024  # what OpenSSH leaves of a packet for everything but the data


class _Asked(NamedTuple):
    """A request that the target has not answered. `amount`: bytes asked for, or sent, from `offset` on."""

    op: Op
    file: File | None
    amount: int
    request: Request | None
    offset: int = 0


class Relay:
    """One session. Give it what arrives, do what the `Step` says; see the module's text for what it decides.

    Whoever feeds it must stop reading a side while the other cannot be written to: a refused request is answered to
    the side that it came from, so the partner's own channel counts too.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        limits: Limits | None = None,
        root: Root | None = None,
        now: Callable[[], float] = lambda: 0.0,
        spent: Callable[[], Spent] = lambda: NOTHING,
        hashed: bool = False,
    ) -> None:
        """`now` tells the time, as Unix has it, to a policy that asks; `spent` what the session has waited for so far.
        `hashed`: files are, as they pass."""
        self._policy: Policy = policy or AllowAll()
        self.root = root
        self._now = now
        self._spent = spent
        self._hashed = hashed
        self._max_size = self._policy.max_size
        self._holds_to_open = self._policy.holds_to_open
        self._home = HOME if root else None
        self._limits = limits or Limits()
        self._io_max = self._limits.packet - _OVERHEAD
        self._inbound = Framer(self._init, self._limits.packet)
        self._outbound = Framer(self._too_early, self._limits.packet)
        self._asked: dict[int, _Asked] = {}
        self._handles: dict[bytes, File] = {}
        self._opening = 0  # of the open requests, those that may give a handle
        self._replies: list[Bytes] = []
        self._early: list[bytes] = []  # replies to a partner who did not wait for VERSION: they follow it
        self._records: list[Record] = []
        self._close: Close | None = None

    @property
    def file(self) -> File | None:
        return latest(self._handles)

    def from_inbound(self, data: Bytes) -> Step:
        """Bytes from the partner."""
        if self._close:
            return Step((), (), (), self._close)
        out: list[Bytes] = []
        try:
            self._inbound.feed(data, out)
        except UspError as error:
            self._end("partner", error)
        if not self._replies and not self._records:
            return Step(out, (), (), self._close)
        replies, self._replies = self._replies, []
        return Step(out, replies, self._take_records(), self._close)

    def from_outbound(self, data: Bytes) -> Step:
        """Bytes from the target."""
        if self._close:
            return Step((), (), (), self._close)
        out: list[Bytes] = []
        try:
            self._outbound.feed(data, out)
        except UspError as error:
            self._end("target", error)
        return Step((), out, self._take_records() if self._records else (), self._close)

    def inbound_eof(self) -> Step:
        """The partner will send no more; a Close when it stopped in the middle of a packet."""
        if self._inbound.inside and not self._close:
            self._end("partner", malformed("the stream ends in the middle of a packet"))
        return Step((), (), (), self._close)

    def abandon(self) -> Step:
        """The partner has gone. Nothing that it began needs to be undone (see `usp.server.screening`)."""
        return Step((), (), (), self._close)

    @property
    def settled(self) -> bool:
        """Nothing needs to be done any more before the target may go."""
        return True

    @property
    def waiting(self) -> bool:
        """The target has not answered all that it was asked."""
        return bool(self._asked)

    def finish(self) -> Sequence[Record]:
        """The session is over: what was still open or unanswered. Nothing may be fed after it."""
        for asked in self._asked.values():
            self._record(asked, None)
        for file in self._handles.values():
            self._record_closed(file, None)
        self._asked, self._handles = {}, {}
        return self._take_records()

    def _take_records(self) -> list[Record]:
        records, self._records = self._records, []
        return records

    def _end(self, side: Literal["partner", "target"], error: UspError) -> None:
        self._close = Close("limit" if error.kind is Kind.LIMITED else "protocol_error", side, error.message)

    # The greeting

    def _init(self, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        if have < length:
            return MORE
        if length < 5 or data[at] != Packet.INIT:
            raise malformed("the first packet is not INIT")
        version = _ID.unpack_from(data, at)[1]
        if version < VERSION:
            raise malformed(f"INIT asks for version {version}")
        self._inbound.look = self._request
        self._outbound.look = self._version
        return packets.init(VERSION)

    def _too_early(self, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        raise malformed("an answer before any question")

    def _version(self, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        if have < length:
            return MORE
        if data[at] != Packet.VERSION:
            raise malformed("the first packet is not VERSION")
        version, extensions = packets.decode_version(bytes(data[at : at + length]))
        if version != VERSION:
            raise malformed(f"VERSION is {version}")
        self._outbound.look = self._answer
        early, self._early = self._early, []
        return packets.version(VERSION, extensions) + b"".join(early)

    # Requests

    def _request(self, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        """READ and WRITE are taken apart here, at once; the others by the table, when all of the packet is there."""
        if have < 9 and have < length:
            return MORE
        if length < 5:
            raise malformed("a request without an id")
        kind, request_id = _ID.unpack_from(data, at)
        if kind in _TRANSFERS:
            return self._transfer(kind, request_id, data, at, have, length)
        if have < length:
            return MORE
        self._admit(request_id)
        return self._by_table(request_id, bytes(data[at : at + length]))

    def _admit(self, request_id: int) -> None:
        if request_id in self._asked:
            raise malformed(f"request id {request_id} is still open")
        if len(self._asked) + len(self._outbound.inserted) + len(self._early) >= self._limits.requests:
            raise UspError("sftp.limit", f"more than {self._limits.requests} requests open")

    def _transfer(self, kind: int, request_id: int, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        """READ (section 6.4: handle, offset, length) or WRITE (handle, offset, string), the packets that come often."""
        if length < 21:
            raise malformed("READ or WRITE is too short")
        handle_size = U32.unpack_from(data, at + 5)[0]
        head = 21 + handle_size
        if handle_size > HANDLE_MAX or length < head:
            raise malformed("READ or WRITE with a bad handle")
        if have < head:
            return MORE
        offset, amount = _OFFSET_SIZE.unpack_from(data, at + 9 + handle_size)
        trailing = kind == _T_WRITE and length > head + amount
        if kind == _T_WRITE and length < head + amount:
            raise malformed("WRITE is shorter than its data")
        if have < length and (trailing or kind == _T_READ):
            return MORE
        self._admit(request_id)
        op = WRITE if kind == _T_WRITE else READ
        handle = bytes(data[at + 9 : at + 9 + handle_size])
        file = self._handles.get(handle)
        if file is None:
            return self._refuse(request_id, op.name, (), Status.FAILURE, "unknown handle")
        if self._holds_to_open and not (file.writes if kind == _T_WRITE else file.reads):
            text = f"the file is not open to {op.name}"
            return self._refuse(request_id, op.name, (file.path,), Status.PERMISSION_DENIED, text)
        too_large = self._max_size is not None and kind == _T_WRITE and offset + amount > self._max_size
        if too_large and self._too_large(request_id, file):
            return DROP
        if kind == _T_READ and (amount > self._io_max or length != head):
            amount = min(amount, self._io_max)  # an answer longer than this would not pass
            self._asked[request_id] = _Asked(op, file, amount, None, offset)
            return packets.encode_request(Request(op, request_id, (handle, offset, amount)))
        self._asked[request_id] = _Asked(op, file, amount, None, offset)
        if file.digest is not None and kind == _T_WRITE:
            self._inbound.tap = file.digest.take(offset, amount, data, at + head, at + have)
        if trailing:  # pkg/sftp, which rclone uses, sends the whole buffer of which it means the beginning
            return U32.pack(head + amount) + bytes(data[at : at + head + amount])
        return FORWARD

    def _by_table(self, request_id: int, body: bytes) -> Verdict | bytes:
        op = packets.find_op(body)
        if isinstance(op, str):
            return self._refuse(request_id, op, (), Status.OP_UNSUPPORTED, "Operation unsupported")
        request, exact = packets.read_request(op, body)
        for path in request.paths:
            if text := problem(path, self._limits.path):
                return self._refuse(request_id, op.name, (), Status.FAILURE, text)
        if self.root:
            request = self.root.seen(request)
        files = (
            [] if not request.handles else [self._handles[each] for each in request.handles if each in self._handles]
        )
        if len(files) < len(request.handles):
            return self._refuse(request_id, op.name, (), Status.FAILURE, "unknown handle")
        if files and op is not CLOSE:
            request = request._replace(paths=tuple([file.path for file in files]))
        elif self.root and (text := self.root.objection(request)):
            return self._refuse(request_id, op.name, request.paths, Status.PERMISSION_DENIED, text)
        opens = op in (OPEN, OPENDIR)
        handles = len(self._handles) + self._opening
        if opens and handles >= self._limits.handles:
            return self._refuse(request_id, op.name, request.paths, Status.FAILURE, "too many open handles")
        if op is CLOSE:
            del self._handles[request.handles[0]]
        elif isinstance(decision := self._policy.decide(request, Context(self._home, handles, self._now)), Deny):
            if decision.enforced:
                return self._refuse(request_id, op.name, request.paths, decision.status, decision.text)
            self._records.append(Observed(op.name, request.paths, decision.text))
        elif decision.instead:
            request, exact = decision.instead, False
        if self.root and op is _HOME_DIRECTORY:
            self._reply(home(request_id))
            return DROP
        self._opening += opens
        self._asked[request_id] = _Asked(op, files[0] if files else None, 0, request)
        if exact and not self.root:
            return FORWARD
        encoded = packets.encode_request(self.root.sent(request) if self.root else request)
        return FORWARD if encoded[4:] == body else encoded

    def _too_large(self, request_id: int, file: File) -> bool:
        """A WRITE beyond the policy's size: whether it is refused. It is told once, as many more are on their way."""
        decision = self._policy.too_large()
        told, file.too_large = file.too_large, True
        if decision.enforced:
            file.failures += 1
            self._reply(packets.status(request_id, decision.status, decision.text))
        if not told:
            paths, text = (file.path,), decision.text
            enforced = Denied(WRITE.name, paths, int(decision.status), text)
            self._records.append(enforced if decision.enforced else Observed(WRITE.name, paths, text))
        return decision.enforced

    def _refuse(self, request_id: int, op: str, paths: tuple[bytes, ...], status: Status, text: str) -> Verdict:
        self._reply(packets.status(request_id, status, text))
        self._records.append(Denied(op, paths, int(status), text))
        return DROP

    def _reply(self, reply: bytes) -> None:
        if self._outbound.look == self._version:
            self._early.append(reply)
        elif self._outbound.insert(reply):
            self._replies.append(reply)

    # Answers

    def _answer(self, data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        if have < 9 and have < length:
            return MORE
        if length < 9:
            raise malformed("an answer that is too short")
        kind, request_id, number = _ID_U32.unpack_from(data, at)
        asked = self._asked.get(request_id)
        if asked is None:
            raise malformed(f"an answer to request {request_id}, which is not open")
        if kind == _T_STATUS:
            if have < length:
                return MORE
            instead = answers.status(data, at, length)
            tells = asked.request and number not in _TELLS_NOTHING
            text = packets.status_text(data, at + 9, at + length) if tells else b""
            verdict = self._status(request_id, asked, number, text)
            return verdict if instead is None or verdict is not FORWARD else instead
        if kind != asked.op.answer:
            raise malformed(f"an answer of type {kind} to {asked.op.name}")
        if kind == _T_DATA:
            file = asked.file
            assert file
            if length != 9 + number or number > asked.amount:
                raise malformed("DATA is not as long as it says, or longer than was asked for")
            file.read.add(asked.offset, number)
            if file.digest is not None and not file.writes:
                self._outbound.tap = file.digest.take(asked.offset, number, data, at + 9, at + have)
            del self._asked[request_id]
            return FORWARD
        if have < length:
            return MORE
        told = bytes(data[at : at + length])
        body = answers.clean(asked.op, told)
        verdict = self._whole(request_id, asked, body)
        return U32.pack(len(body)) + body if verdict is FORWARD and body != told else verdict

    def _status(self, request_id: int, asked: _Asked, code: int, text: bytes) -> Verdict | bytes:
        if code == Status.OK and asked.op.answer is not None:
            raise malformed(f"STATUS OK to {asked.op.name}")
        del self._asked[request_id]
        self._opening -= asked.op.answer is Packet.HANDLE
        if asked.request:
            self._record(asked, code, text)
        else:
            assert asked.file
            asked.file.answered(code, asked.offset, asked.amount, write=asked.op is WRITE)
        return status(request_id, code) if self.root and code not in _TELLS_NOTHING else FORWARD

    def _whole(self, request_id: int, asked: _Asked, body: bytes) -> Verdict | bytes:
        """Everything but STATUS and DATA."""
        del self._asked[request_id]
        if self.root and asked.op.answer is Packet.NAME:
            assert asked.request
            return self.root.names(asked.request, body)
        if asked.op is _REALPATH and self._home is None:
            assert asked.request
            if asked.request.paths == (b".",) and (home := packets.decode_name(body)).startswith(b"/"):
                self._home = normalise(home)
            return FORWARD
        if asked.op is LIMITS:
            limits = self._limits
            return packets.clamp_limits(body, limits.packet, self._io_max, limits.handles)
        if asked.op.answer is not Packet.HANDLE:
            return FORWARD
        self._opening -= 1
        handle = packets.decode_handle(body)
        if handle in self._handles:
            raise malformed("HANDLE gives a handle that is already open")
        assert asked.request
        told = opened(asked.request, 0)
        self._records.append(told)
        self._handles[handle] = File.of(told, self._spent(), hashed=self._hashed)
        return FORWARD

    # Records

    def _record(self, asked: _Asked, status: int | None, text: bytes = b"") -> None:
        op, request = asked.op, asked.request
        if op is CLOSE:
            assert asked.file
            self._record_closed(asked.file, status, text)
        elif op.answer is Packet.HANDLE:
            assert request
            self._records.append(opened(request, status, text))
        elif op.writes and request:
            self._records.append(Changed(op.name, request.paths, status, request.attrs, text))

    def _record_closed(self, file: File, status: int | None, text: bytes = b"") -> None:
        if not file.directory:
            self._records.append(file.closed(status, text, self._spent()))
