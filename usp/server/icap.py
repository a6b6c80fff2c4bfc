"""ICAP (RFC 3507) as a client speaks it, without I/O: what is sent, what comes back cut into events, and the verdict.

One request per connection. The file goes as the body of an HTTP message, in chunks, as it comes: REQMOD (an upload, a
PUT) where the service has it, else RESPMOD (a download). What the answer means:

    answer                                            verdict
    -----------------------------------------------   -----------------------------------------------------------
    100                                               none yet: the preview did not do, go on
    204                                               clean
    200, with a header that names a threat            infected
    200, an HTTP answer that is not the one sent      infected (the scanner's own page takes the file's place)
    200, the message that was sent, byte for byte     clean (a service that does not honour `Allow: 204`)
    200, anything else                                infected (what is not what was sent cannot be let pass)
    any other status, or what is no ICAP              failed
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from usp.errors import UspError
from usp.scan import Finding, Service, Verdict

HEAD_MAX: Final = 64 * 1024
"""Bytes of an answer's head, and of the HTTP heads in it."""
PREVIEW_MAX: Final = 64 * 1024
NAME_MAX: Final = 1024
TEXT_MAX: Final = 200
OPTIONS_TTL: Final = 3600.0
"""Seconds that a service's options are kept at most."""

END: Final = b"0\r\n\r\n"
END_IN_PREVIEW: Final = b"0; ieof\r\n\r\n"
"""The file ends within the preview (section 4.5)."""

_THREATS: Final = ("x-infection-found", "x-virus-id", "x-virus-name", "x-violations-found", "x-blocked")
_NO_THREAT: Final = frozenset({"", "0", "-", "none", "no", "false"})
_THREAT_NAME: Final = re.compile(r"Threat=([^;]+)")


def failed(reason: str) -> UspError:
    return UspError("scan.failed", reason)


class Options(NamedTuple):
    """What a service can do (section 4.10). `preview`: how many bytes it wants to see first; None: all at once."""

    method: Literal["REQMOD", "RESPMOD"]
    preview: int | None = None
    ttl: float = OPTIONS_TTL


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `http`: the first lines of the HTTP heads in it, by the name of their part."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    http: Mapping[str, str] = field(default_factory=dict)


class Done(NamedTuple):
    """The answer is complete."""


Event: TypeAlias = Head | bytes | Done


# What is sent


def options_request(service: Service) -> bytes:
    return _head("OPTIONS", service, [])


def request(service: Service, options: Options, name: bytes, client: str) -> bytes:
    """All that goes before the file. `name`: its path; `client`: the address of who sends it."""
    url = f"http://{_host(service)}/{quote(name.lstrip(b'/')[-NAME_MAX:])}"
    first = f"{'PUT' if options.method == 'REQMOD' else 'GET'} {url} HTTP/1.1\r\nHost: {_host(service)}\r\n"
    content = "Content-Type: application/octet-stream\r\n"
    parts = [("req-hdr", first + content + "\r\n"), ("req-body", "")]
    if options.method == "RESPMOD":
        parts = [("req-hdr", first + "\r\n"), ("res-hdr", f"HTTP/1.1 200 OK\r\n{content}\r\n"), ("res-body", "")]
    encapsulated, http = [], ""
    for part, text in parts:
        encapsulated.append(f"{part}={len(http)}")
        http += text
    headers = ["Allow: 204", f"X-Client-IP: {client}"]
    if options.preview is not None:
        headers.append(f"Preview: {options.preview}")
    return _head(options.method, service, [*headers, f"Encapsulated: {', '.join(encapsulated)}"]) + http.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _head(method: str, service: Service, headers: list[str]) -> bytes:
    fixed = [f"{method} {service.url} ICAP/1.0", f"Host: {_host(service)}", "User-Agent: usp", "Connection: close"]
    return "\r\n".join([*fixed, *headers, "", ""]).encode()


def _host(service: Service) -> str:
    return f"[{service.host}]" if ":" in service.host else service.host


# What comes back


class Replies:
    """What a server sends on one connection, as events."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._events: list[Event] = []
        self._parsing = self._parse()
        next(self._parsing)

    def feed(self, data: bytes) -> list[Event]:
        """UspError `scan.failed` for what is no ICAP."""
        self._data += data
        next(self._parsing)
        events, self._events = self._events, []
        return events

    def _parse(self) -> Generator[None, None, None]:
        while True:
            first, headers = _lines((yield from self._until(b"\r\n\r\n")))
            found = re.fullmatch(r"ICAP/1\.\d (\d{3})(?: (.*))?", first)
            if found is None:
                raise failed(f"this is no ICAP: {first[:40]!r}")
            status = int(found[1])
            sizes, body = _encapsulated("" if status in (100, 204) else headers.get("encapsulated", ""))
            http = {}
            for part, size in sizes:
                text = yield from self._take(size)
                http[part] = text.split(b"\r\n", 1)[0].decode("latin-1")
            self._events.append(Head(status, found[2] or "", headers, http))
            if body:
                yield from self._chunks()
            if status != 100:
                self._events.append(Done())

    def _chunks(self) -> Generator[None, None, None]:
        while True:
            line = (yield from self._until(b"\r\n")).split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", line):
                raise failed(f"this is no chunk: {bytes(line[:40])!r}")
            left = int(line, 16)
            if not left:
                while (yield from self._until(b"\r\n")):
                    pass  # a trailer
                return
            while left:
                data = yield from self._some(left)
                left -= len(data)
                self._events.append(data)
            if (yield from self._take(2)) != b"\r\n":
                raise failed("a chunk is longer than it says")

    def _until(self, mark: bytes) -> Generator[None, None, bytes]:
        """What comes before the mark."""
        while (at := self._data.find(mark)) < 0:
            if len(self._data) > HEAD_MAX:
                raise failed("its head is too long")
            yield
        found = bytes(self._data[:at])
        del self._data[: at + len(mark)]
        return found

    def _some(self, at_most: int) -> Generator[None, None, bytes]:
        while not self._data:
            yield
        found = bytes(self._data[:at_most])
        del self._data[:at_most]
        return found

    def _take(self, count: int) -> Generator[None, None, bytes]:
        while len(self._data) < count:
            yield
        return (yield from self._some(count)) if count else b""


def _lines(head: bytes) -> tuple[str, dict[str, str]]:
    """The first line and the headers, by lower-case name. A line that begins with a blank goes on with the last."""
    first, *rest = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    name = ""
    for line in rest:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            headers[name] = value.strip()
    return first, headers


def _encapsulated(header: str) -> tuple[list[tuple[str, int]], bool]:
    """How long each HTTP head is (section 4.4.1), and whether a body follows."""
    parts = []
    for each in filter(None, map(str.strip, header.split(","))):
        name, _, offset = each.partition("=")
        if not re.fullmatch(r"[0-9]{1,6}", offset):
            raise failed(f"this is no Encapsulated header: {header[:80]!r}")
        parts.append((name.lower(), int(offset)))
    sizes = [(name, end - start) for (name, start), (_, end) in pairwise(parts)]
    if any(size < 0 for _, size in sizes) or (parts and not 0 <= parts[-1][1] <= HEAD_MAX):
        raise failed(f"this is no Encapsulated header: {header[:80]!r}")
    return sizes, bool(parts) and parts[-1][0] != "null-body"


def read_options(head: Head) -> Options:
    """UspError `scan.failed` if the service is of no use."""
    if head.status != 200:
        raise failed(f"the service is not there: {head.status} {head.reason}".rstrip())
    methods = head.headers.get("methods", head.headers.get("method", "")).upper()
    preview, ttl = head.headers.get("preview", ""), head.headers.get("options-ttl", "")
    if "REQMOD" not in methods and "RESPMOD" not in methods:
        raise failed("the service has neither REQMOD nor RESPMOD")
    return Options(
        "REQMOD" if "REQMOD" in methods else "RESPMOD",
        min(int(preview), PREVIEW_MAX) if re.fullmatch(r"[0-9]{1,9}", preview) else None,
        min(float(ttl), OPTIONS_TTL) if re.fullmatch(r"[0-9]{1,9}", ttl) else OPTIONS_TTL,
    )


class Judge:
    """Hears what is sent of a file and what is answered, until there is a verdict."""

    def __init__(self) -> None:
        self._sent, self._returned = hashlib.sha256(), hashlib.sha256()
        self._head: Head | None = None
        self._complete = False

    def sent(self, data: bytes) -> None:
        self._sent.update(data)

    def sent_all(self) -> None:
        self._complete = True

    def heard(self, event: Event) -> Verdict | None:
        """None: not yet. (A 100 is not for it.)"""
        if isinstance(event, Head):
            self._head = event
            return _verdict(event)
        if isinstance(event, bytes):
            self._returned.update(event)
            return None
        if self._complete and self._sent.digest() == self._returned.digest():
            return Verdict(Finding.CLEAN)
        return Verdict(Finding.INFECTED, "the scanner changed the file")


def _verdict(head: Head) -> Verdict | None:
    """As far as the head of the answer says."""
    if head.status == 204:
        return Verdict(Finding.CLEAN)
    if head.status != 200:
        return Verdict(Finding.FAILED, f"the scanner answers {head.status} {head.reason}".rstrip()[:TEXT_MAX])
    for name in _THREATS:
        if (value := head.headers.get(name, "")).lower() not in _NO_THREAT:
            found = _THREAT_NAME.search(value)
            return Verdict(Finding.INFECTED, (found[1] if found else value).strip()[:TEXT_MAX])
    page = head.http.get("res-hdr", "")
    if page and page.split(" ")[1:2] != ["200"]:
        return Verdict(Finding.INFECTED, f"the scanner answers with {page}"[:TEXT_MAX])
    return None
