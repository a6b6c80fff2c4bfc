"""ICAP as bytes: what is asked, and what answers mean. The answers are c-icap's and RFC 3507's own examples."""

from __future__ import annotations

from itertools import pairwise

import pytest

from usp.errors import UspError
from usp.scan import Finding, Service, Verdict
from usp.server import icap
from usp.server.icap import Done, Event, Head, Judge, Options, Replies, read_options, request

SERVICE = Service("av.example", 1344, "/avscan")
CLEAN = b"ICAP/1.0 204 Unmodified\r\nServer: C-ICAP/0.5.10\r\n\r\n"
EICAR = (
    b"ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test;\r\n"
    b"X-Violations-Found: 1\r\n\t-\r\n\tEicar\r\n\t0\r\n\t0\r\nEncapsulated: res-hdr=0, res-body=26\r\n\r\n"
    b"HTTP/1.0 403 Forbidden\r\n\r\n" + b"5; ext=1\r\npage!\r\n0\r\nTrailer: x\r\n\r\n"
)
OPTIONS = (
    b"ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nOptions-TTL: 60\r\nPreview: 1024\r\nAllow: 204\r\n"
    b"Encapsulated: null-body=0\r\n\r\n"
)
ECHO = (
    b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=19\r\n\r\n"
    b"PUT / HTTP/1.1\r\n\r\n\n" + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
)


def heard(data: bytes, piece: int = 0) -> list[Event]:
    replies = Replies()
    pieces = [data[at : at + (piece or len(data))] for at in range(0, len(data), piece or len(data))]
    return [event for each in pieces for event in replies.feed(each)]


def test_what_is_asked() -> None:
    assert icap.options_request(SERVICE) == (
        b"OPTIONS icap://av.example:1344/avscan ICAP/1.0\r\nHost: av.example\r\nUser-Agent: usp\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert request(SERVICE, Options("REQMOD", 1024), b"/in/a b\n", "192.0.2.1") == (
        b"REQMOD icap://av.example:1344/avscan ICAP/1.0\r\nHost: av.example\r\nUser-Agent: usp\r\n"
        b"Connection: close\r\nAllow: 204\r\nX-Client-IP: 192.0.2.1\r\nPreview: 1024\r\n"
        b"Encapsulated: req-hdr=0, req-body=104\r\n\r\n"
        b"PUT http://av.example/in/a%20b%0A HTTP/1.1\r\nHost: av.example\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    v6 = request(Service("::1", 9, "/r"), Options("RESPMOD"), b"x" * 2000, "::2")
    head, http = v6.split(b"\r\n\r\n", 1)
    assert b"Host: [::1]\r\n" in head
    assert b"Preview" not in head
    encapsulated = head.rpartition(b"Encapsulated: ")[2].decode()
    assert encapsulated == f"req-hdr=0, res-hdr={http.index(b'HTTP/1.1 200')}, res-body={len(http)}"
    assert http.startswith(b"GET http://[::1]/" + b"x" * 1024 + b" HTTP/1.1\r\n")
    assert icap.chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert icap.chunk(b"") == b""


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_what_is_answered(piece: int) -> None:
    assert heard(CLEAN, piece) == [Head(204, "Unmodified", {"server": "C-ICAP/0.5.10"}), Done()]
    head, *body, done = heard(EICAR, piece)
    assert isinstance(head, Head)
    assert head.headers["x-violations-found"] == "1 - Eicar 0 0"
    assert head.http == {"res-hdr": "HTTP/1.0 403 Forbidden"}
    assert b"".join(each for each in body if isinstance(each, bytes)) == b"page!"
    assert done == Done()
    assert heard(b"ICAP/1.0 100 Continue\r\n\r\n" + CLEAN, piece)[0] == Head(100, "Continue")
    assert heard(b"ICAP/1.0 100\r\n\r\n", piece) == [Head(100)]


@pytest.mark.parametrize(
    ("data", "msg"),
    [
        (b"SSH-2.0-x\r\n\r\n\r\n", "this is no ICAP: 'SSH-2.0-x'"),
        (b"x" * 70_000, "its head is too long"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=999999\r\n\r\n", "this is no Encapsulated header"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=9, res-body=2\r\n\r\n", "this is no Encapsulated header"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=x\r\n\r\n", "this is no Encapsulated header"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=0\r\n\r\nzz\r\n", "this is no chunk: b'zz'"),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=0\r\n\r\n1\r\nxyz", "a chunk is longer than it says"),
    ],
)
def test_what_is_no_answer(data: bytes, msg: str) -> None:
    with pytest.raises(UspError, match=msg) as raised:
        heard(data)
    assert raised.value.code == "scan.failed"


def options(**headers: str) -> Options:
    return read_options(Head(200, "OK", {name.replace("_", "-"): value for name, value in headers.items()}))


def test_what_a_service_can_do() -> None:
    (head, _) = heard(OPTIONS)
    assert isinstance(head, Head)
    assert read_options(head) == Options("REQMOD", 1024, 60.0)
    assert options(methods="RESPMOD") == Options("RESPMOD", None, 3600.0)
    assert options(method="respmod", preview="x", options_ttl="-1") == Options("RESPMOD", None, 3600.0)
    assert options(methods="REQMOD", preview="999999", options_ttl="999999") == Options("REQMOD", 65536, 3600.0)
    with pytest.raises(UspError, match="neither REQMOD nor RESPMOD"):
        options(methods="OPTIONS")
    with pytest.raises(UspError, match="the service is not there: 404 Service not found"):
        read_options(Head(404, "Service not found"))


def verdict(answer: bytes, *, sent: bytes = b"abc", complete: bool = True) -> Verdict | None:
    judge = Judge()
    judge.sent(sent)
    if complete:
        judge.sent_all()
    return next(filter(None, map(judge.heard, heard(answer))), None)


def answer(
    headers: str, http: str = "HTTP/1.1 200 OK\r\n\r\n", part: str = "res", body: bytes = b"3\r\nabc\r\n0\r\n\r\n"
) -> bytes:
    text = f"ICAP/1.0 200 OK\r\n{headers}Encapsulated: {part}-hdr=0, {part}-body={len(http)}\r\n\r\n{http}"
    return text.encode() + body


SAME = Verdict(Finding.CLEAN)
CHANGED = Verdict(Finding.INFECTED, "the scanner changed the file")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (CLEAN, SAME),
        (EICAR, Verdict(Finding.INFECTED, "Eicar-Test")),
        (ECHO, SAME),
        (ECHO.replace(b"ab", b"xb"), CHANGED),
        (answer(""), SAME),
        (answer("X-Virus-ID: none\r\nX-Violations-Found: 0\r\n"), SAME),
        (answer("X-Virus-ID: W32.Evil\r\n"), Verdict(Finding.INFECTED, "W32.Evil")),
        (answer("", "HTTP/1.1 403 No\r\n\r\n"), Verdict(Finding.INFECTED, "the scanner answers with HTTP/1.1 403 No")),
        (answer("", body=b"0\r\n\r\n"), CHANGED),
        (b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, null-body=5\r\n\r\nPUT\r\n", CHANGED),
        (b"ICAP/1.0 500 Oops\r\n\r\n", Verdict(Finding.FAILED, "the scanner answers 500 Oops")),
    ],
)
def test_verdicts(said: bytes, meant: Verdict) -> None:
    assert verdict(said) == meant


def test_an_echo_that_ends_before_the_file_does_is_not_the_file() -> None:
    assert verdict(ECHO, complete=False) == CHANGED
    for shorter, _ in pairwise(range(len(ECHO) - 10, len(ECHO))):
        assert verdict(ECHO[:shorter]) is None
