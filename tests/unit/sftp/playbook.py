"""Playbooks: a conversation as text, played through a Relay and compared with what was to happen.

    partner -> OPEN 1 /a/../b 0x1 -        fed
    target <- OPEN 1 /b 0x1 -              must come out, packet for packet
    target -> HANDLE 1 h0
    partner <- HANDLE 1 h0
    record Opened(...)
    close partner protocol_error

Each playbook is played three times: packets fed whole, in pieces of 7 bytes and byte by byte. What happens must be the
same. Strings may be quoted and hold \\xNN; `-` is empty attributes; `0o644` attributes with these permissions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent

from usp.sftp.relay import Relay
from usp.sftp.root import Root
from usp.sftp.steps import Step
from usp.sftp.wire import Reader, packet, string, u32, u64

# After the type: i uint32, q uint64, s string, a attributes, * strings to the end, r the rest in hex.
LAYOUTS = {
    "INIT": (1, "i*"),
    "VERSION": (2, "i*"),
    "OPEN": (3, "isia"),
    "CLOSE": (4, "is"),
    "READ": (5, "isqi"),
    "WRITE": (6, "isqs"),
    "LSTAT": (7, "is"),
    "FSTAT": (8, "is"),
    "SETSTAT": (9, "isa"),
    "FSETSTAT": (10, "isa"),
    "OPENDIR": (11, "is"),
    "READDIR": (12, "is"),
    "REMOVE": (13, "is"),
    "MKDIR": (14, "isa"),
    "RMDIR": (15, "is"),
    "REALPATH": (16, "is"),
    "STAT": (17, "is"),
    "RENAME": (18, "iss"),
    "READLINK": (19, "is"),
    "SYMLINK": (20, "iss"),
    "BLOCK": (22, "isqqi"),
    "STATUS": (101, "iiss"),
    "HANDLE": (102, "is"),
    "DATA": (103, "is"),
    "NAME": (104, "ir"),
    "ATTRS": (105, "ir"),
    "EXTENDED": (200, "is"),
    "REPLY": (201, "ir"),
}
EXTENDED = {
    "limits@openssh.com": "",
    "posix-rename@openssh.com": "ss",
    "expand-path@openssh.com": "s",
    "copy-data": "sqqsq",
    "lsetstat@openssh.com": "sa",
    "fsync@openssh.com": "s",
    "statvfs@openssh.com": "s",
    "fstatvfs@openssh.com": "s",
    "hardlink@openssh.com": "ss",
    "home-directory": "s",
    "users-groups-by-id@openssh.com": "ss",
}
_NAMES = {kind: name for name, (kind, _) in LAYOUTS.items()}


def encode(line: str) -> bytes:
    """A packet from its text."""
    name, *tokens = re.findall(r'"[^"]*"|\S+', line)
    if name == "RAW":
        return bytes.fromhex("".join(tokens))
    kind, layout = LAYOUTS[name]
    if name == "EXTENDED":
        layout += EXTENDED.get(tokens[1], "*")
    parts = []
    for letter in layout:
        if letter in "*r":
            parts += [bytes.fromhex(token) if letter == "r" else string(_bytes(token)) for token in tokens]
            tokens = []
            break
        parts.append(_encode(letter, tokens.pop(0)))
    parts += [bytes.fromhex(token) for token in tokens]  # what a careless client appends
    return packet(kind, *parts)


def _encode(letter: str, token: str) -> bytes:
    match letter:
        case "i":
            return u32(int(token, 0))
        case "q":
            return u64(int(token, 0))
        case "s":
            return string(_bytes(token))
    return u32(0) if token == "-" else u32(4) + u32(int(token, 0))


def _bytes(token: str) -> bytes:
    return token.strip('"').encode("latin-1").decode("unicode_escape").encode("latin-1")


def describe(data: bytes) -> str:
    """The text of a packet."""
    reader = Reader(data)
    reader.u32()
    name = _NAMES[reader.u8()]
    words = [name]
    layout = LAYOUTS[name][1]
    while layout:
        letter, layout = layout[0], layout[1:]
        if letter == "*":
            layout = "s*" if reader.left else ""
        elif letter == "r":
            return " ".join([*words, *filter(None, [data[reader.position :].hex()])])
        else:
            words.append(_describe(letter, reader))
            if name == "EXTENDED" and len(words) == 3:
                layout = EXTENDED[words[2]]
    assert not reader.left, data
    return " ".join(words)


def _describe(letter: str, reader: Reader) -> str:
    match letter:
        case "i":
            return str(reader.u32())
        case "q":
            return str(reader.u64())
        case "s":
            text = reader.string().decode("latin-1").encode("unicode_escape").decode("ascii")
            return f'"{text}"' if not text or " " in text else text
    return oct(reader.u32()) if reader.u32() & 4 else "-"


def cut(data: bytes) -> list[bytes]:
    """The packets of a stream that ends with one."""
    packets = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        assert len(data) >= end, "the stream ends within a packet"
        packets.append(data[:end])
        data = data[end:]
    return packets


def feed(relay: Relay, side: str, data: bytes, piece: int = 0) -> Step:
    """Feed `data` in pieces (0: whole), and join the steps."""
    take = relay.from_inbound if side == "partner" else relay.from_outbound
    steps = [take(data[at : at + (piece or len(data))]) for at in range(0, len(data), piece or len(data))]
    return Step(
        [b"".join(chunk for step in steps for chunk in step.to_outbound)],
        [b"".join(chunk for step in steps for chunk in step.to_inbound)],
        [record for step in steps for record in step.records],
        steps[-1].close,
    )


def play(relay: Relay, script: str, piece: int = 0) -> str:
    """What really happened when the fed lines of `script` were fed."""
    lines = []
    for line in script.splitlines():
        if line == "finish":
            lines += [line, *(f"record {record}" for record in relay.finish())]
        if " -> " not in line:
            continue
        lines.append(line)
        side, text = line.split(" -> ")
        step = relay.inbound_eof() if text == "EOF" else feed(relay, side, encode(text), piece)
        lines += [f"target <- {describe(data)}" for data in cut(b"".join(step.to_outbound))]
        lines += [f"partner <- {describe(data)}" for data in cut(b"".join(step.to_inbound))]
        lines += [f"record {record}" for record in step.records]
        if step.close:
            lines.append(f"close {step.close.side} {step.close.outcome}")
    return "\n".join(lines)


GREETING = """\
partner -> INIT 3
target <- INIT 3
target -> VERSION 3
partner <- VERSION 3
"""
OPEN = """\
partner -> OPEN 90 /file 0x1a -
target <- OPEN 90 /file 26 -
target -> HANDLE 90 h
partner <- HANDLE 90 h
record Opened(path=b'/file', directory=False, reads=False, writes=True, status=0)
"""
OPEN_READ = (
    OPEN.replace("0x1a", "0x01").replace("26", "1").replace("reads=False, writes=True", "reads=True, writes=False")
)
OPENED_DIR = """\
partner -> OPENDIR 91 /dir
target <- OPENDIR 91 /dir
target -> HANDLE 91 d
partner <- HANDLE 91 d
record Opened(path=b'/dir', directory=True, reads=False, writes=False, status=0)
"""


def check(
    script: str, *, before: str = GREETING, root: Callable[[], Root | None] = lambda: None, **options: object
) -> None:
    """Play `before` and `script`; both must happen as they are written. `root` makes one for each time: it learns."""
    text = (before + dedent(script).strip("\n")).strip("\n")
    text = "\n".join(line.split("  #")[0].rstrip() for line in text.splitlines() if line.strip())
    for piece in (0, 7, 1):
        made = Relay(root=root(), **options)  # type: ignore[arg-type]
        assert play(made, text, piece) == text, f"fed in pieces of {piece}"
