"""What fuzzing begins with: for each target, inputs that its parser takes, or nearly. All are made here."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from asyncssh.packet import NameList, String, UInt32

from tests.fuzz import mutated
from tests.unit.server.gateway import HOST_LINE, OTHER_KEY, snapshot
from tests.unit.server.test_icap import CLEAN, ECHO, EICAR, OPTIONS
from usp import hello
from usp.chain import Chain, Link
from usp.manager.api.examples import ITEMS
from usp.model import KINDS, Model
from usp.server import messages, proxy
from usp.snapshot import PathSpec

WHOLE: Final = b"\xff\xff\xff\xff"
"""How a target cuts what follows: not at all, or nearly so."""
ROOT: Final = Path(__file__).parents[2]


def beginnings(name: str) -> list[bytes]:
    return list(BEGINNINGS[name]())


def _conversation() -> Iterator[bytes]:
    for seed in range(8):
        yield random.Random(seed).randbytes(600)


def _sftp_bytes() -> Iterator[bytes]:
    for flags in (2, 3):
        for packets in mutated.SENT:
            yield bytes([flags]) + b"".join(
                b"\0" + bytes([len(each)]) + each for each in packets[:20] if len(each) < 256
            )
    yield b"\0\0\x09" + mutated.INIT


def _sftp_packets() -> Iterator[bytes]:
    for packet in {each[4]: each for each in mutated.ALL}.values():
        yield packet[4:]
    for answers in mutated.ANSWERED.values():
        yield answers[0][4:]


def _framing() -> Iterator[bytes]:
    yield WHOLE + b"".join(mutated.ALL[:4])
    yield b"\0\1\2\3" + mutated.framed(b"\1" * 30) + mutated.framed(b"\3" * 40)


def _globs() -> Iterator[bytes]:
    yield from (b"a/**/b*c?/**\na/x/bdcc/e", b"**/*.exe\nx/y.exe", b"in/*\nin/a/b")


def _proxy() -> Iterator[bytes]:
    yield proxy.header(("192.0.2.7", 4711), ("192.0.2.8", 22)) + b"SSH-2.0-x\r\n"
    yield proxy.header(("2001:db8::7", 4711), ("2001:db8::8", 22))
    yield proxy.header(("::ffff:192.0.2.7", 4711), ("2001:db8::8", 22))
    yield proxy.LOCAL
    yield b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 22\r\nSSH-2.0-x\r\n"
    yield b"PROXY TCP6 2001:db8::7 2001:db8::8 4711 22\r\n"
    yield b"PROXY UNKNOWN\r\n"


def kexinit(kex: str = "curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com", guess: bool = False) -> bytes:
    """An offer that our servers agree with."""
    lists = [kex, "ssh-ed25519", *["aes128-gcm@openssh.com"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2, "", ""]
    names = b"".join(NameList([part.encode() for part in each.split(",")] if each else []) for each in lists)
    return b"\x14" + bytes(16) + names + bytes([guess]) + UInt32(0)


def packed(*payloads: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in payloads)


KEX_REPLY: Final = b"\x1f" + String(b"k" * 51) + String(bytes(32)) + String(b"s" * 83)


def _greeting() -> Iterator[bytes]:
    from tests.fuzz.ssh_targets import framed

    yield WHOLE + b"hello\r\nSSH-2.0-x\r\n" + framed(kexinit(), 8)
    yield WHOLE + b"SSH-1.99-x\r\n" + framed(b"\x02" + String("x"), 8) + framed(kexinit(), 8)
    yield WHOLE + b"SSH-2.0-x\r\n" + framed(b"\x01" + UInt32(2) + String("no") + String(""), 8)
    yield WHOLE + b"Not allowed at this time\r\n"


def _hello() -> Iterator[bytes]:
    said = (
        hello.Hello(name="client", version="1.0", instance="0123456789abcdef"),
        hello.Welcome(server="s", slot=0, slots=2),
        hello.HelloRefused(code="name", message="no"),
        hello.Draining(),
    )
    yield WHOLE + b"".join(hello.encode(each) for each in said)


def _icap() -> Iterator[bytes]:
    yield from (WHOLE + each for each in (CLEAN, EICAR, OPTIONS, ECHO, b"ICAP/1.0 100 Continue\r\n\r\n" + CLEAN))


def _ipc() -> Iterator[bytes]:
    known = vars(messages).values()
    for model in sorted((each for each in known if isinstance(each, type) and issubclass(each, Model)), key=str):
        fields = {name: _example(info.annotation) for name, info in model.model_fields.items() if info.is_required()}
        op = model.model_fields.get("op")
        yield json.dumps({**({"op": op.default} if op else {}), **fields}).encode()


def _example(annotation: object) -> object:
    return {int: 1, float: 1.0, bool: True, str: "a"}.get(annotation, {})  # type: ignore[call-overload]


def _control() -> Iterator[bytes]:
    for made in (snapshot(22), snapshot(22, path=PathSpec(tunnel="t1", client="c"))):
        yield made.to_wire()
    yield b'{"listener":"l1","login":{"username":"u","password":"p"}}'
    yield b'{"host":"sftp.internal","port":22}'


def _items() -> Iterator[bytes]:
    kinds = sorted(KINDS)
    for kind, fields in ITEMS.items():
        yield bytes([kinds.index(kind)]) + json.dumps(fields).encode()


def _sets() -> Iterator[bytes]:
    yield json.dumps({"items": {kind: [fields] for kind, fields in ITEMS.items()}}).encode()
    yield json.dumps({"items": [{"kind": kind, "name": "n"} for kind in ITEMS]}).encode()


def _hcl() -> Iterator[bytes]:
    for name in ("usp-client", "usp-server", "usp-manager"):
        yield (ROOT / "etc" / f"{name}.hcl").read_bytes()
    yield b'a = {b = 1, "c" : 2\n d = [1, -2.5e3, true, null]\n}\nb {\n c = "\\u00e9 $${x} %%{y}"\n}\n'
    yield b"a = <<E\n x\nE\nb = <<-E\n  y\n E\n"
    yield b'listener "a" {\n x = 1\n}\nlistener "b" {\n}\n'


def _chain() -> Iterator[bytes]:
    chain = Chain(Link("s", "0" * 16))
    yield b"\n".join(chain.link(f'{{"event":"x{number}"}}') for number in range(3))


def _keys() -> Iterator[bytes]:
    yield HOST_LINE.encode()
    yield OTHER_KEY.reveal().encode()
    yield b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA=="
    yield b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"


ECDH: Final = b"\x1e" + String(bytes(range(1, 33)))
NEWKEYS: Final = b"\x15"


def _before_keys() -> Iterator[bytes]:
    from tests.fuzz.ssh_targets import framed

    yield b"\0SSH-2.0-x y\r\n" + framed(kexinit(), 8)
    yield b"\3" + packed(kexinit(), ECDH, NEWKEYS)
    yield b"\3" + packed(kexinit(guess=True), ECDH)
    yield b"\3" + packed(kexinit("mlkem768x25519-sha256,curve25519-sha256", guess=True), ECDH, ECDH)
    yield b"\3" + packed(b"\2" + String("x"), kexinit("curve25519-sha256"), b"\4\0" + String("d") + String(""), ECDH)
    yield b"\3" + packed(b"\1" + UInt32(11) + String("bye") + String(""))
    yield b"\7" + packed(kexinit("diffie-hellman-group14-sha256"))


def login(method: str, *rest: bytes, user: str = "u") -> bytes:
    return b"\x32" + String(user) + String("ssh-connection") + String(method) + b"".join(rest)


SERVICE: Final = b"\5" + String("ssh-userauth")


def _logging_in() -> Iterator[bytes]:
    password, key = login("password", b"\0" + String("p")), HOST_LINE.split()[1]
    import base64

    offered = b"\0" + String("ssh-ed25519") + String(base64.b64decode(key))
    yield packed(SERVICE, login("none"), *[password] * 7)
    yield packed(SERVICE, login("publickey", offered), login("publickey", b"\1" + offered[1:] + String(bytes(83))))
    yield packed(SERVICE, login("keyboard-interactive", String("") * 2), b"\x3d" + UInt32(1) + String("p"))
    yield packed(SERVICE, login("hostbased"), login("password", b"\1" + String("p") + String("q")), SERVICE)
    yield packed(kexinit(), ECDH, NEWKEYS, b"\7" + UInt32(1) + String("a") + String("b"))


SESSION: Final = b"\x5a" + String("session") + UInt32(0) + UInt32(1 << 20) + UInt32(32768)


def request(name: str, *rest: bytes, answer: bool = True) -> bytes:
    return b"\x62" + UInt32(0) + String(name) + bytes([answer]) + b"".join(rest)


def data(text: bytes, channel: int = 0) -> bytes:
    return b"\x5e" + UInt32(channel) + String(text)


def _logged_in() -> Iterator[bytes]:
    yield packed(SESSION, request("subsystem", String("sftp")), data(mutated.INIT), b"\x60\0\0\0\0", b"\x61\0\0\0\0")
    yield packed(SESSION, *(request(name, String("x")) for name in ("exec", "shell", "env", "pty-req", "x11-req")))
    yield packed(*(b"\x50" + String(name) + b"\1" for name in ("tcpip-forward", "keepalive@openssh.com", "x")))
    yield packed(b"\x5a" + String("direct-tcpip") + UInt32(0) * 3 + String("h") + UInt32(1) + String("h") + UInt32(2))
    yield packed(SESSION, b"\x5d" + UInt32(0) + UInt32(2**32 - 1), data(b"x" * 100), data(b"", 7), kexinit())


def _from_target() -> Iterator[bytes]:
    yield b"\3" + packed(kexinit("curve25519-sha256"), KEX_REPLY, NEWKEYS)
    yield b"\4" + packed(b"\6" + String("ssh-userauth"), b"\x33" + String("password,publickey") + b"\0")
    yield b"\4" + packed(b"\6" + String("ssh-userauth"), b"\x35" + String("banner") + String(""), b"\x34", b"\x34")
    yield b"\4" + packed(b"\7" + UInt32(1) + String("server-sig-algs") + String("ssh-ed25519"), b"\5" + String("x"))
    yield b"\2Not allowed at this time\r\n"


def _fast_path() -> Iterator[bytes]:
    adjust = b"\x5d" + UInt32(0) + UInt32(1000)
    for flags in range(8):
        yield bytes([flags]) + packed(data(b"abc"), adjust, data(b"x" * 3000), data(b"y" * 900), b"\x60\0\0\0\0")
    yield b"\3" + packed(data(b"a"), b"\x5f" + UInt32(0) + UInt32(1) + String("err"), data(b"b"), b"\x61\0\0\0\0")
    yield b"\3" + packed(request("x", answer=True), data(b"z" * 5000), kexinit())


BEGINNINGS: Final = {
    "sftp_conversation": _conversation,
    "sftp_bytes": _sftp_bytes,
    "sftp_packets": _sftp_packets,
    "framing": _framing,
    "path_globs": _globs,
    "proxy_header": _proxy,
    "ssh_greeting": _greeting,
    "tunnel_hello": _hello,
    "icap_answers": _icap,
    "ipc_messages": _ipc,
    "control_bodies": _control,
    "api_items": _items,
    "api_sets": _sets,
    "hcl_files": _hcl,
    "audit_lines": _chain,
    "ssh_keys": _keys,
    "ssh_before_keys": _before_keys,
    "ssh_logging_in": _logging_in,
    "ssh_logged_in": _logged_in,
    "ssh_from_target": _from_target,
    "fast_path": _fast_path,
}
