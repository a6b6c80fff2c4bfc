"""Hostile and random SFTP: nothing raises but what says so, and what passes is what was understood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sftp import conversation
from tests.unit.sftp.playbook import GREETING, encode
from usp.errors import UspError
from usp.policy import Access, OpClass, PathRule, Policy
from usp.sftp import packets
from usp.sftp.framing import DROP, FORWARD, MORE, Framer, Verdict
from usp.sftp.ops import EXTENSIONS, OPS
from usp.sftp.paths import normalise
from usp.sftp.policy import Compiled
from usp.sftp.relay import Relay
from usp.sftp.steps import Limits
from usp.sftp.wire import Bytes, Reader, packet, string, u32

KINDS = st.sampled_from([*range(24), *range(100, 107), 200, 201, 255])
IDS = st.integers(0, 3).map(u32)
NAMES = st.one_of(st.sampled_from(sorted(EXTENSIONS)), st.binary(max_size=8))
FIELDS = st.one_of(
    st.binary(max_size=12).map(string),
    st.sampled_from([b"h", b"/a/../b", b"~", b""]).map(string),
    NAMES.map(string),
    st.sampled_from([0, 1, 4, 15, 64, 2**31, 2**32 - 1]).map(u32),
    st.binary(max_size=9),
)
LIKELY = st.builds(lambda kind, id_, rest: packet(kind, id_, *rest), KINDS, IDS, st.lists(FIELDS, max_size=5))


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A likely packet, perhaps with a byte changed or its end missing."""
    data = bytearray(draw(LIKELY))
    if draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)))] if draw(st.booleans()) else data)


POLICY = Compiled(
    Policy(
        deny=(OpClass.RMDIR,),
        paths=(
            PathRule(path="~/a/**/b*", access=Access.DENY, classes=(OpClass.READ,)),
            PathRule(path="/b", access=Access.DENY),
        ),
        forbidden_names=("*h",),
        ignore_case=True,
        max_file_size=64,
        max_open_handles=3,
    )
)


def greeted(policy: Compiled | None = None) -> Relay:
    relay = Relay(policy, limits=Limits(packet=4096, requests=8, handles=4))
    for line in [*GREETING.splitlines(), "partner -> OPEN 9 /f 0x3 -", "target -> HANDLE 9 h"]:
        side, arrow, text = line.partition(" -> ")
        if arrow:
            (relay.from_inbound if side == "partner" else relay.from_outbound)(encode(text))
    return relay


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(broken(), st.binary(max_size=30))), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_the_relay_only_ever_closes(chunks: list[tuple[bool, bytes]], known: bool, strict: bool) -> None:
    policy = POLICY if strict else None
    conversation.feed_all(greeted(policy) if known else Relay(policy), list(chunks))


@given(st.lists(st.tuples(st.booleans(), LIKELY), max_size=20), conversation.CUTS)
def test_hostile_conversations_do_not_depend_on_chunks(turns: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    def play(sizes: list[int]) -> tuple[object, ...]:
        relay, to_target, to_partner, records, close = greeted(), b"", b"", list[object](), None
        for from_partner, data in turns:
            while data:
                size = sizes[0] if sizes else len(data)
                sizes = sizes[1:] + sizes[:1]
                chunk, data = data[:size], data[size:]
                step = relay.from_inbound(chunk) if from_partner else relay.from_outbound(chunk)
                to_target += conversation.joined(step.to_outbound)
                to_partner += conversation.joined(step.to_inbound)
                records += step.records
                close = step.close
        return to_target, to_partner, records, close, relay.finish()

    assert play(cuts) == play([])


@given(conversation.TURNS, conversation.CUTS)
def test_good_conversations(turns: list[str | int], cuts: list[int]) -> None:
    played = conversation.play(turns, cuts)
    assert played == conversation.play(turns)
    assert played.replies() == dict.fromkeys(range(1, played.asked + 1), 1)
    assert conversation.SECRET not in played.to_target


@given(LIKELY)
def test_what_is_understood_is_what_is_sent(data: bytes) -> None:
    body = data[4:]
    try:
        op = packets.find_op(body)
        if isinstance(op, str):
            return
        request, exact = packets.read_request(op, body)
    except UspError:
        return
    sent = packets.encode_request(request)
    assert exact is (sent[4:] == body)
    assert packets.decode_request(op, sent[4:]) == request
    assert all(normalise(path) == path for path in request.paths if not path.startswith(b"~"))
    assert op in (*OPS.values(), *EXTENSIONS.values())


@given(st.binary(max_size=60), st.lists(st.sampled_from(["u8", "u32", "u64", "string"]), max_size=10))
def test_the_reader_stays_within_bounds(data: bytes, calls: list[str]) -> None:
    reader = Reader(data)
    for call in calls:
        before = reader.position
        try:
            getattr(reader, call)()
        except UspError:
            return
        assert before < reader.position <= len(data)


@given(st.binary(max_size=60))
def test_attributes_and_answers(data: bytes) -> None:
    for parse in (packets.decode_version, packets.decode_handle, lambda body: packets.clamp_limits(body, 9, 9, 9)):
        try:
            parse(data)
        except UspError:
            continue
    try:
        raw, attrs = packets.read_attrs(Reader(data))
    except UspError:
        return
    assert packets.read_attrs(Reader(raw)) == (raw, attrs)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_the_framer_keeps_little(chunks: list[bytes]) -> None:
    def look(data: Bytes, at: int, have: int, length: int) -> Verdict:
        return MORE if have < min(length, 20) else DROP if data[at] % 2 else FORWARD

    framer, out, fed = Framer(look, 100), list[Bytes](), 0
    for chunk in chunks:
        try:
            framer.feed(chunk, out)
        except UspError:
            break
        fed += len(chunk)
    assert sum(map(len, out)) <= fed
