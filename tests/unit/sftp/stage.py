"""Playbooks (see `playbook`) of a Quarantine: `partner` is the Relay before it.

partner -> OPEN 1 /a 0x1a -             fed
target <- LSTAT 1 /a                    must come out, and so on
order Content(number=1, data=b'x')      must be ordered
judged 1 clean                          a verdict; also: more 1, eof, abandon, finish
record Scanned(...)
wrong ...                               the target broke the protocol
"""

from __future__ import annotations

from textwrap import dedent

from tests.unit.sftp.playbook import cut, describe, encode
from usp.scan import Finding, Scan, Verdict
from usp.sftp.quarantine import Flow, Quarantine

GREETING = """\
partner -> INIT 3
target <- INIT 3
target -> VERSION 3 posix-rename@openssh.com 1
partner <- VERSION 3 posix-rename@openssh.com 1
"""
OPENED = """\
partner -> OPEN 1 /in/a 0x1a -
target <- LSTAT 1 /in/a
target -> STATUS 1 2 none en
target <- OPEN 1 /in/.usp-scan-T 42 -
target -> HANDLE 1 h
partner <- HANDLE 1 h
"""
WRITTEN = (
    OPENED
    + """\
partner -> WRITE 2 h 0 abc
target <- WRITE 2 h 0 abc
order Begin(number=1, path=b'/in/a')
order Content(number=1, data=b'abc')
target -> STATUS 2 0 ok en
partner <- STATUS 2 0 ok en
"""
)
CLOSED = """\
partner -> CLOSE 3 h
target <- CLOSE 3 h
order End(number=1)
target -> STATUS 3 0 ok en
"""
RENAME = "target <- EXTENDED 3 posix-rename@openssh.com /in/.usp-scan-T /in/a\n"
RENAMED = """\
target -> STATUS 3 0 renamed en
partner <- STATUS 3 0 renamed en
"""


def scanned(finding: str = "clean", *, text: str = "", size: int = 3, passed: bool = False) -> str:
    """What is told of it."""
    found = f"<Finding.{finding.upper()}: '{finding}'>"
    return f"record Scanned(path=b'/in/a', finding={found}, text={text!r}, size={size}, passed={passed})\n"


CLEAN = scanned(passed=True)


def scan(**fields: object) -> Scan:
    return Scan.model_validate({"url": "icap://scanner/av", **fields}, strict=False)


def _heard(flow: Flow) -> list[str]:
    lines = [f"target <- {describe(data)}" for data in cut(b"".join(map(bytes, flow.to_target)))]
    lines += [f"partner <- {describe(data)}" for data in cut(b"".join(map(bytes, flow.to_relay)))]
    lines += [f"order {each}" for each in flow.orders]
    lines += [f"record {each}" for each in flow.records]
    return [*lines, *([f"wrong {flow.wrong}"] if flow.wrong else [])]


def _act(quarantine: Quarantine, line: str, piece: int) -> list[str] | None:
    """What follows a line that does something; None: it is what follows."""
    word, _, rest = line.partition(" ")
    if " -> " in line:
        data = encode(rest.removeprefix("-> "))
        pieces = [data[at : at + (piece or len(data))] for at in range(0, len(data), piece or len(data))]
        if word == "partner":
            return _heard(quarantine.from_relay(pieces))
        flows = [quarantine.from_target(each) for each in pieces]
        return _heard(
            Flow(
                [each for flow in flows for each in flow.to_target],
                [each for flow in flows for each in flow.to_relay],
                [each for flow in flows for each in flow.orders],
                [each for flow in flows for each in flow.records],
                flows[-1].wrong,
            )
        )
    if word == "judged":
        number, finding, *text = rest.split(" ", 2)
        return _heard(quarantine.judged(int(number), Verdict(Finding(finding), *text)))
    if word == "more":
        return _heard(quarantine.more(int(rest)))
    if word in ("eof", "abandon"):
        return _heard(getattr(quarantine, word)())
    if word == "finish":
        return [f"record {each}" for each in quarantine.finish()]
    return None


def check(
    script: str, *, before: str = GREETING, settled: bool = True, pieces: tuple[int, ...] = (0, 7, 1), **fields: object
) -> None:
    """Play `before` and `script`; both must happen as they are written, in whatever pieces they are fed."""
    text = (before + dedent(script).strip("\n")).strip("\n")
    text = "\n".join(line.split("  #")[0].rstrip() for line in text.splitlines() if line.strip())
    for piece in pieces:
        quarantine = Quarantine(scan(**fields), lambda: "T", 256 * 1024)
        lines: list[str] = []
        for line in text.splitlines():
            heard = _act(quarantine, line, piece)
            if heard is not None:
                lines += [line, *heard]
        assert "\n".join(lines) == text, f"fed in pieces of {piece}"
        assert quarantine.settled is settled
