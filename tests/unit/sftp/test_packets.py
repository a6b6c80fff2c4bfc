from __future__ import annotations

import pytest

from tests.unit.sftp.playbook import describe, encode
from usp.errors import UspError
from usp.policy import OpClass
from usp.sftp import packets
from usp.sftp.ops import EXTENSIONS, LIMITS, OPEN, OPS, WRITE, Field, Op
from usp.sftp.packets import Attrs, Request
from usp.sftp.wire import Reader, packet, string, u32, u64

ALL_ATTRS = (
    u32(0x8000000F) + u64(5) + u32(1) + u32(2) + u32(0o644) + u32(7) + u32(8) + u32(1) + string(b"x") + string(b"y")
)
SAMPLES: dict[Field, int | bytes] = {
    Field.PATH: b"/a/b",
    Field.TILDE_PATH: b"~/a",
    Field.HANDLE: b"\0\0\0\1",
    Field.TEXT: b"text\0",
    Field.U32: 2**32 - 1,
    Field.U64: 2**64 - 1,
    Field.PFLAGS: 0x1A,
    Field.ATTRS: ALL_ATTRS,
}


@pytest.mark.parametrize("op", [*OPS.values(), *EXTENSIONS.values()], ids=lambda op: op.name)
def test_every_operation_survives_the_wire(op: Op) -> None:
    sent = Request(op, 9, tuple(SAMPLES[field] for field in op.fields))
    body = packets.encode_request(sent)[4:]
    assert packets.find_op(body) is op
    got = packets.decode_request(op, body)
    assert (got.op, got.id, got.values) == (op, 9, sent.values)
    assert len(got.paths) == sum(field in (Field.PATH, Field.TILDE_PATH) for field in op.fields)
    assert len(got.handles) == op.fields.count(Field.HANDLE)
    for end in range(5, len(body)):
        with pytest.raises(UspError):
            packets.decode_request(op, body[:end])


def test_open_on_the_wire() -> None:
    request = packets.decode_request(OPEN, encode("OPEN 1 a/./b 0xffff 0o600")[4:])
    assert describe(packets.encode_request(request)) == "OPEN 1 a/b 63 0o600"
    assert request.attrs == Attrs(permissions=0o600)
    assert request.classes == {OpClass.READ, OpClass.WRITE, OpClass.CREATE}
    assert packets.decode_request(WRITE, encode("WRITE 1 h 0 x")[4:]).classes == {OpClass.WRITE}


def test_what_is_not_in_the_table_has_a_name_for_the_log() -> None:
    assert packets.find_op(encode("BLOCK 1 h 0 1 0")[4:]) == "packet type 22"
    assert packets.find_op(encode("EXTENDED 1 evil\\xff")[4:]) == "extended evil\\xff"
    assert packets.find_op(encode("EXTENDED 1 \\x1b[2J")[4:]) == "extended \\x1b[2J", "nothing that steers a terminal"
    assert packets.find_op(encode("EXTENDED 1 limits@openssh.com")[4:]) is LIMITS
    with pytest.raises(UspError):
        packets.find_op(encode("EXTENDED 1 limits@openssh.com")[4:-1])


def test_attributes() -> None:
    raw, attrs = packets.read_attrs(Reader(ALL_ATTRS + b"more"))
    assert raw == ALL_ATTRS
    assert attrs == Attrs(5, (1, 2), 0o644, (7, 8))


def test_flags_that_version_3_does_not_have_are_dropped() -> None:
    raw, attrs = packets.read_attrs(Reader(u32(0x7FFFFFF4) + u32(0o644)))
    assert raw == u32(4) + u32(0o644)
    assert attrs == Attrs(permissions=0o644)


def test_replies_and_greetings() -> None:
    assert describe(packets.status(7, 3, "no")) == "STATUS 7 3 no en"
    assert describe(packets.init(3)) == "INIT 3"
    assert describe(packets.version(3, ((b"a", b"1"),))) == "VERSION 3 a 1"


def test_only_known_extensions_are_announced() -> None:
    body = encode("VERSION 3 limits@openssh.com 1 versions 2,3,6 copy-data 1")[4:]
    assert packets.decode_version(body) == (3, ((b"limits@openssh.com", b"1"), (b"copy-data", b"1")))


def test_handles() -> None:
    assert packets.decode_handle(packet(102, u32(1), string(bytes(256)))[4:]) == bytes(256)
    with pytest.raises(UspError, match="257"):
        packets.decode_handle(packet(102, u32(1), string(bytes(257)))[4:])


def test_a_size_in_attributes_overwrites() -> None:
    sized, plain = Attrs(size=5), Attrs(permissions=0o600)
    for name in (9, 10):
        assert Request(OPS[name], 1, (), attrs=sized).classes == {OpClass.SETSTAT, OpClass.OVERWRITE}
        assert Request(OPS[name], 1, (), attrs=plain).classes == {OpClass.SETSTAT}
    assert Request(OPS[14], 1, (), attrs=sized).classes == {OpClass.MKDIR}


def test_an_open_made_exclusive() -> None:
    made = Request(OPEN, 1, (b"/a", 0x1A, u32(0)), (b"/a",), pflags=0x1A).exclusive()
    assert (made.pflags, made.values) == (0x3A, (b"/a", 0x3A, u32(0)))


def test_names() -> None:
    entry = string(b"/home") + string(b"long") + u32(0)
    assert packets.decode_name(packet(104, u32(1), u32(2), entry, entry)[4:]) == b"/home"
    with pytest.raises(UspError, match="without a name"):
        packets.decode_name(packet(104, u32(1), u32(0))[4:])


def test_limits_are_clamped() -> None:
    def reply(*numbers: int) -> bytes:
        return packet(201, u32(1), *map(u64, numbers))

    assert packets.clamp_limits(reply(0, 0, 0, 0)[4:], 100, 90, 5) == reply(100, 90, 90, 5)
    assert packets.clamp_limits(reply(50, 200, 40, 9)[4:], 100, 90, 5) == reply(50, 90, 40, 5)


def test_a_request_on_other_paths() -> None:
    rename = packets.decode_request(OPS[18], encode("RENAME 1 /a /b")[4:])
    assert rename.on((b"/a", b"/b")) is rename
    assert packets.encode_request(rename.on((b"/c", b"/d"))) == encode("RENAME 1 /c /d")
    open_ = packets.decode_request(OPEN, encode("OPEN 1 /a 26 0o600")[4:])
    assert packets.encode_request(open_.on((b"/x/a",))) == encode("OPEN 1 /x/a 26 0o600")
    tilde = packets.decode_request(
        EXTENSIONS[b"expand-path@openssh.com"], encode("EXTENDED 1 expand-path@openssh.com ~")[4:]
    )
    assert packets.encode_request(tilde.on((b"/x",))) == encode("EXTENDED 1 expand-path@openssh.com /x")


def test_the_text_of_a_status() -> None:
    def text(rest: bytes) -> bytes:
        return packets.status_text(b"..." + rest, 3, 3 + len(rest))

    assert text(string(b"no space") + string(b"en")) == b"no space"
    assert text(b"") == text(u32(9) + b"short") == b""
    assert text(string(b"x" * 1000)) == b"x" * packets.STATUS_TEXT_MAX
