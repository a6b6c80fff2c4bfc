"""One function for each parser of foreign bytes: give it any bytes, and it fails only if the product does.

Each says what must hold: nothing is raised but the error that is documented, what comes out is bounded, what was
understood is what is sent on (round trip), and it does not matter in which pieces it came. `TARGETS` has them all, with
those that need a connection (`ssh_targets`). They are shared by hypothesis and the replay of the corpora
(`test_targets`) and by the coverage-guided driver (`guided`).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, Final, TypeAlias

import orjson
from asyncssh import SSHKey
from pydantic import TypeAdapter, ValidationError

from tests.fuzz import mutated
from tests.fuzz.strict import Answers, Requests
from usp import chain, hcl, hello
from usp.diagnosis import KeyScan, Probe
from usp.errors import UspError
from usp.manager import keys as manager_keys
from usp.manager import sets
from usp.manager.catalog import EMPTY, Create, apply
from usp.model import KINDS
from usp.secret import REVEAL, Secret
from usp.server import control, icap, ipc, proxy
from usp.server.handover import Handed
from usp.sftp import globs, packets
from usp.sftp.framing import DROP, FORWARD, MORE, Framer, Verdict
from usp.sftp.paths import normalise
from usp.sftp.relay import Relay
from usp.sftp.wire import Bytes, Reader
from usp.snapshot import Snapshot
from usp.ssh import kexinit, keys

Target: TypeAlias = Callable[[bytes], None]

PURE: Final[dict[str, Target]] = {}


def target(function: Target) -> Target:
    PURE[function.__name__] = function
    return function


class Drawn(random.Random):
    """Decisions that come from bytes, not from chance: what a fuzzer changes is what happens. When they are used up,
    all is zero."""

    def __new__(cls, data: bytes) -> Drawn:
        return super().__new__(cls)

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def random(self) -> float:
        return self.getrandbits(8) / 256

    def getrandbits(self, bits: int, /) -> int:
        size = (bits + 7) // 8
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "big") & ((1 << bits) - 1)


def pieces(data: bytes) -> tuple[list[bytes], bytes]:
    """The data in pieces of the sizes that its first bytes say, and whole."""
    sizes, whole = data[:4], data[4:]
    cut, at = [], 0
    for number in range(len(whole)):
        if at >= len(whole):
            break
        size = 1 + sizes[number % len(sizes)]
        cut.append(whole[at : at + size])
        at += size
    return cut, whole


def refusal(code: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives; the UspError's words, if it raises one with such a code."""
    try:
        return function(*arguments)
    except UspError as error:
        problem = error
    assert problem.code.startswith(code), problem
    assert len(problem.message) < 2000
    return f"{problem.code}: {problem.message}"


# SFTP


@target
def sftp_conversation(data: bytes) -> None:
    """A recorded conversation, changed as the bytes say, through relay, policy, virtual root and quarantine; a strict
    reader at both ends."""
    mutated.conversation(Drawn(data))


@target
def sftp_bytes(data: bytes) -> None:
    """Whatever comes from both sides. First byte: policy, greeting. Then pieces: a side, how many bytes, the bytes."""
    if not data:
        return
    relay, requests, answers = Relay(mutated.POLICY if data[0] & 1 else None, mutated.LIMITS), Requests(), Answers()
    turns: list[tuple[bool, bytes]] = [(True, mutated.INIT), (False, b"\0\0\0\5\2\0\0\0\3")] if data[0] & 2 else []
    at = 1
    while at + 1 < len(data):
        size = data[at + 1]
        turns.append((data[at] % 2 == 0, data[at + 2 : at + 2 + size]))
        at += 2 + size
    closed = None
    for from_partner, piece in turns:
        if from_partner:
            answers.asked(piece)
        step = relay.from_inbound(piece) if from_partner else relay.from_outbound(piece)
        if closed:
            assert step == ((), (), (), closed)
        closed = step.close
        if not from_partner and not closed:
            for number in list(requests.open):
                if number not in relay._asked:
                    del requests.open[number]
        requests.feed(b"".join(map(bytes, step.to_outbound)))
        answers.feed(b"".join(map(bytes, step.to_inbound)))
        assert len(relay._asked) <= mutated.LIMITS.requests
    relay.inbound_eof()
    relay.finish()


@target
def sftp_packets(data: bytes) -> None:
    """One packet: what is understood is what is sent."""
    for parse in (packets.decode_version, packets.decode_handle, lambda body: packets.clamp_limits(body, 9, 9, 9)):
        refusal("sftp.", parse, data)
    packets.status_text(data, 0, len(data))
    try:
        raw, attrs = packets.read_attrs(Reader(data))
        assert packets.read_attrs(Reader(raw)) == (raw, attrs)
    except UspError:
        pass
    if not data:
        return
    op = refusal("sftp.", packets.find_op, data)
    if isinstance(op, str):
        assert op.isprintable()
        return
    request = refusal("sftp.", packets.decode_request, op, data)
    if isinstance(request, str):
        return
    sent = packets.encode_request(request)
    assert len(sent) <= 4 + len(data) + len(request.paths)
    assert packets.decode_request(op, sent[4:]) == request
    assert all(normalise(path) == path for path in request.paths if not path.startswith(b"~"))


@target
def framing(data: bytes) -> None:
    """A stream cut into packets gives the same, however it comes in."""

    def look(data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        if have < min(length, 20):
            return MORE
        return (DROP, FORWARD, FORWARD, b"REPLACED")[data[at] % 4]

    def play(parts: list[bytes]) -> tuple[bytes, str]:
        framer, out = Framer(look, 300), list[Bytes]()
        try:
            for part in parts:
                framer.feed(part, out)
                assert len(framer._head) <= 304
        except UspError as error:
            return b"".join(map(bytes, out)), error.message
        return b"".join(map(bytes, out)), ""

    cut, whole = pieces(data)
    one, other = play([whole]), play(cut)
    assert one[1] == other[1]
    # a packet that is not whole may have gone out in part, or not yet
    assert one[0].startswith(other[0]) or other[0].startswith(one[0])


@target
def path_globs(data: bytes) -> None:
    """An administrator's pattern and a partner's path: it fits or not, soon."""
    pattern, _, path = data.decode("utf-8", "replace").partition("\n")
    glob = globs.path_glob("/" + normalise(pattern.encode()).decode("utf-8", "replace").strip("/"))
    found = glob.fits("/" + path)
    assert found in (True, False)
    assert not found or "\n" not in pattern
    glob.reaches_below("/" + path)


# What comes before and around SSH


@target
def proxy_header(data: bytes) -> None:
    """With each byte more: nothing yet, then one answer that stays; the header alone gives the same."""
    answer: proxy.Header | proxy.Bad | None = None
    for size in range(min(len(data), proxy.MAX_LENGTH + 8) + 1):
        answer = proxy.parse(data[:size])
        if answer is not None:
            break
    if isinstance(answer, proxy.Bad):
        assert isinstance(proxy.parse(data), proxy.Bad)
        return
    if answer is None:
        assert len(data) < proxy.MAX_LENGTH
        return
    assert answer.length <= min(len(data), proxy.MAX_LENGTH)
    assert proxy.parse(data) == answer == proxy.parse(data[: answer.length])
    if answer.source:
        host, port = answer.source
        written = proxy.header(answer.source, ("192.0.2.1", 22))
        assert proxy.parse(written) == proxy.Header(len(written), (host, port))


@target
def ssh_greeting(data: bytes) -> None:
    """What a target says first, as the probe reads it."""

    def play(parts: list[bytes]) -> tuple[str, str, object]:
        greeting, said = kexinit.Greeting(), ""
        for part in parts:
            said = refusal("target.", greeting.feed, part) or ""
            if said:
                break
            assert len(greeting._buffer) <= max(kexinit.MAX_PREFACE + 300, kexinit.MAX_PACKET + 300) + len(part)
        assert greeting.identification.isascii()
        assert (greeting.identification + greeting.preface).isprintable()
        return said, greeting.identification, greeting.offer

    cut, whole = pieces(data)
    one, other = play([whole]), play(cut)
    assert one == other or len(whole) > kexinit.MAX_PREFACE


@target
def tunnel_hello(data: bytes) -> None:
    """Lines on a link's control channel."""
    cut, whole = pieces(data)
    lines, one = hello.Lines(), list[bytes]()
    for part in cut:
        got = refusal("tunnel.", lines.feed, part)
        if isinstance(got, str):
            break
        one += got
        assert len(lines._rest) <= hello.LIMIT
    assert whole.startswith(b"\n".join(one))
    for line in one:
        for read in (hello.from_client, hello.from_server):
            message = refusal("tunnel.", read, line)
            if not isinstance(message, str):
                assert read(hello.encode(message).rstrip(b"\n")) == message


@target
def icap_answers(data: bytes) -> None:
    """What a scanner answers: the same events, however it comes; a verdict only from what says so."""

    def play(parts: list[bytes]) -> tuple[list[object], str]:
        replies, events, said = icap.Replies(), list[object](), ""
        for part in parts:
            got = refusal("scan.failed", replies.feed, part)
            if isinstance(got, str):
                said = "failed"
                break
            events += got
            assert len(replies._data) <= 2 * icap.HEAD_MAX + len(part)
        joined: list[object] = []
        for event in events:
            if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
                joined[-1] += event
            else:
                joined.append(event)
        return joined, said

    cut, whole = pieces(data)
    one, other = play([whole]), play(cut)
    if not one[1] and not other[1]:
        assert one == other
    judge = icap.Judge()
    for event in other[0]:
        if isinstance(event, icap.Head):
            refusal("scan.", icap.read_options, event)
        verdict = judge.heard(event)  # type: ignore[arg-type]
        if verdict is not None:
            assert len(verdict.text) <= icap.TEXT_MAX
            break


# What daemons say to each other, and what administrators write


def _same(adapter: TypeAdapter[Any], data: bytes) -> None:
    """What is taken is what would be written."""
    try:
        value = adapter.validate_json(data)
    except ValidationError:
        return
    assert adapter.validate_json(adapter.dump_json(value, context=REVEAL)) == value


_FROM_SERVERS: Final[tuple[TypeAdapter[Any], ...]] = (ipc._TO_WORKER, ipc._FROM_WORKER, TypeAdapter(Handed))


@target
def ipc_messages(data: bytes) -> None:
    """Between supervisor and workers, and from one program to the next."""
    for adapter in _FROM_SERVERS:
        _same(adapter, data)


@target
def control_bodies(data: bytes) -> None:
    """What a manager may send to a server's control API."""
    for model in (Probe, KeyScan, Snapshot):
        got = refusal("request.invalid", control._parsed, model, data)
        if isinstance(got, Snapshot):
            wire = got.to_wire()
            assert Snapshot.model_validate_json(wire).to_wire() == wire


_KINDS: Final = tuple(sorted(KINDS))
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@target
def api_items(data: bytes) -> None:
    """First byte: the kind. An item's body, to the catalog and back."""
    if not data:
        return
    kind, numbers = _KINDS[data[0] % len(_KINDS)], count()
    change = Create(kind, data[1:])
    delta = refusal(
        "", partial(apply, now=_NOW, new_id=lambda: f"id-{next(numbers)}", facts=manager_keys.facts), EMPTY, [change]
    )
    if isinstance(delta, str):
        return
    for record in delta.puts:
        model = KINDS[record.kind]
        text = record.item.model_dump_json(context=REVEAL)
        assert model.model_validate_json(text) == record.item


@target
def api_sets(data: bytes) -> None:
    """Configuration as code."""
    with contextlib.suppress(orjson.JSONDecodeError):
        body = orjson.loads(data)
        refusal("request.invalid", sets.wanted, body)


@target
def hcl_files(data: bytes) -> None:
    """A daemon's configuration file."""
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
        for labelled in (False, True):
            node = refusal("settings.", partial(hcl.parse, labelled=labelled), text)
            if isinstance(node, hcl.Node):
                assert depth(node.plain()) <= hcl.MAX_DEPTH + 3


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@target
def audit_lines(data: bytes) -> None:
    """Files that `usp audit verify` is given: what the product chained is right, and what was changed shows."""
    checker = chain.Checker()
    for line in data.split(b"\n")[:20]:
        checker.check(line)
    writer, checker = chain.Chain(chain.Link("s", "0" * 16)), chain.Checker()
    text = orjson.dumps({"event": data[:200].decode("latin-1")}).decode()
    lines = [writer.link(text) for _ in range(3)]
    assert [checker.check(line) for line in lines] == [""] * 3
    if data:
        at = data[0] % len(lines[1])
        changed = lines[1][:at] + bytes([lines[1][at] ^ (1 + data[-1] % 255)]) + lines[1][at + 1 :]
        checker = chain.Checker()
        found = [checker.check(line) for line in (lines[0], changed, lines[2])]
        assert any(found)


@target
def ssh_keys(data: bytes) -> None:
    """Keys and certificates that an administrator pastes."""
    text = data.decode("utf-8", "replace")
    for read in (keys.parse_public, keys.public_data):
        got = refusal("key.", read, text)
        if isinstance(got, SSHKey):
            assert keys.same(keys.parse_public(keys.public_line(got)), got)
            keys.facts(got)
    refusal("key.", keys.parse_private, Secret(text))
