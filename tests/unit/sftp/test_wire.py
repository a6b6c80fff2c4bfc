from __future__ import annotations

import pytest

from usp.errors import UspError
from usp.sftp.wire import Reader, malformed, packet, string, u32, u64


def test_what_is_written_is_read() -> None:
    reader = Reader(b"\x07" + u32(1) + u64(2**63) + string(b"ab\0") + b"rest")
    assert (reader.u8(), reader.u32(), reader.u64(), reader.string(), reader.left) == (7, 1, 2**63, b"ab\0", 4)
    assert reader.since(1)[:4] == u32(1)


def test_a_packet_has_its_length_in_front() -> None:
    assert packet(6, b"ab", b"c") == b"\0\0\0\4\6abc"


@pytest.mark.parametrize(
    ("data", "method"),
    [(b"", "u8"), (b"abc", "u32"), (bytes(7), "u64"), (b"\0\0\0\5abcd", "string"), (b"\0", "string")],
)
def test_reading_stays_within_bounds(data: bytes, method: str) -> None:
    with pytest.raises(UspError) as caught:
        getattr(Reader(data), method)()
    assert caught.value.code == "sftp.protocol"


def test_malformed_says_why() -> None:
    assert str(malformed("no")) == "no"
