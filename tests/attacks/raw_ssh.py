"""An SSH client that does what it is told, whatever that is: packets are bytes, and nothing is checked.

It speaks curve25519-sha256 and aes128-gcm@openssh.com (RFC 4253, 8731, 5647), which every server here agrees to.
Nothing of asyncssh's connections is in it, so that the one under test does not talk to itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

GREETING: Final = b"SSH-2.0-raw\r\n"
DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = range(1, 8)
KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
INFO_REQUEST, INFO_RESPONSE = 60, 61
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, ADJUST, DATA, EXTENDED_DATA, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = range(
    90, 101
)
STRICT: Final = "kex-strict-c-v00@openssh.com"
_TAG: Final = 16


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def string(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return u32(len(data)) + data


def mpint(value: bytes) -> bytes:
    """Of unsigned bytes (RFC 4251, section 5)."""
    stripped = value.lstrip(b"\0")
    return string((b"\0" if stripped and stripped[0] & 0x80 else b"") + stripped)


def kexinit(
    kex: str = f"curve25519-sha256,{STRICT}",
    host_keys: str = "ssh-ed25519",
    ciphers: str = "aes128-gcm@openssh.com",
    macs: str = "hmac-sha2-256",
    compression: str = "none",
    guess: bool = False,
) -> bytes:
    lists = [kex, host_keys, ciphers, ciphers, macs, macs, compression, compression, "", ""]
    return bytes([KEXINIT]) + bytes(16) + b"".join(map(string, lists)) + bytes([guess]) + u32(0)


def packet(payload: bytes, block: int = 8, counted: int = 4) -> bytes:
    """In clear (section 6). `counted`: bytes of the length that the padding counts."""
    padding = 4 + -(counted + 1 + len(payload) + 4) % block
    return u32(1 + len(payload) + padding) + bytes([padding]) + payload + bytes(padding)


class RawSsh:
    """One connection. `said`: the payloads that came, in order, without what the methods waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.server_version = b""
        self.server_kexinit = self.kexinit = b""
        self.session_id = b""
        self.said: list[bytes] = []
        self._seal: tuple[AESGCM, bytes, int] | None = None
        self._open: tuple[AESGCM, bytes, int] | None = None

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> RawSsh:
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    # --- what is sent ---

    async def write(self, data: bytes) -> None:
        """Bytes as they are. Who does not listen any more is found out by what comes, or does not."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):  # uvloop's word for a transport that is closed
            pass

    def sealed(self, payload: bytes, body: bytes | None = None) -> bytes:
        """As it travels now. `body`: all that is sealed, instead of the payload with its padding."""
        if self._seal is None:
            return packet(payload)
        aead, iv, number = self._seal
        self._seal = aead, iv, number + 1
        body = packet(payload, 16, 0)[4:] if body is None else body
        nonce = iv[:4] + ((int.from_bytes(iv[4:], "big") + number) & (2**64 - 1)).to_bytes(8, "big")
        return u32(len(body)) + aead.encrypt(nonce, body, u32(len(body)))

    async def send(self, *payloads: bytes) -> None:
        await self.write(b"".join(map(self.sealed, payloads)))

    # --- what comes ---

    async def receive(self) -> bytes | None:
        """The next payload; None: the other side has closed."""
        try:
            head = await self._reader.readexactly(4)
            length = int.from_bytes(head, "big")
            if self._open is None:
                body = await self._reader.readexactly(length)
            else:
                aead, iv, number = self._open
                self._open = aead, iv, number + 1
                nonce = iv[:4] + (int.from_bytes(iv[4:], "big") + number).to_bytes(8, "big")
                body = aead.decrypt(nonce, await self._reader.readexactly(length + _TAG), head)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return body[1 : len(body) - body[0]]

    async def wait_for(self, *kinds: int) -> bytes | None:
        """The next payload of one of these types; what comes before it is kept in `said`. None: there was none."""
        while (payload := await self.receive()) is not None:
            if payload[0] in kinds:
                return payload
            self.said.append(payload)
        return None

    async def the_end(self) -> None:
        """Until the other side has closed."""
        while (payload := await self.receive()) is not None:
            self.said.append(payload)

    async def hung_up(self) -> None:
        """The same, whatever comes until then."""
        while await self._reader.read(1 << 16):
            pass

    def disconnects(self) -> list[tuple[int, str]]:
        """The reasons that were given, and the words."""
        found = [payload for payload in self.said if payload[0] == DISCONNECT]
        return [
            (int.from_bytes(each[1:5], "big"), each[9 : 9 + int.from_bytes(each[5:9], "big")].decode())
            for each in found
        ]

    def close(self) -> None:
        self._writer.transport.abort()

    # --- the usual way, in steps ---

    async def greet(self, greeting: bytes = GREETING) -> None:
        await self.write(greeting)
        self.server_version = (await self._reader.readline()).rstrip(b"\r\n")

    async def offer(self, offer: bytes | None = None) -> None:
        self.kexinit = offer or kexinit()
        await self.send(self.kexinit)
        self.server_kexinit = await self.wait_for(KEXINIT) or b""

    async def exchange(self, private: X25519PrivateKey | None = None, *, new_keys: bool = True) -> None:
        """From the offers on; strict kex is agreed on, so nothing is counted on but AES-GCM's own counters."""
        private = private or X25519PrivateKey.generate()
        ours = private.public_key().public_bytes_raw()
        await self.send(bytes([ECDH_INIT]) + string(ours))
        reply = await self.wait_for(ECDH_REPLY)
        assert reply is not None, self.disconnects()
        host_key, theirs, _ = _strings(reply[1:], 3)
        secret = mpint(private.exchange(X25519PublicKey.from_public_bytes(theirs)))
        parts = [GREETING.rstrip(), self.server_version, self.kexinit, self.server_kexinit, host_key, ours, theirs]
        digest = hashlib.sha256(b"".join(map(string, parts)) + secret).digest()
        self.session_id = self.session_id or digest
        assert await self.wait_for(NEWKEYS)

        def made(letter: bytes, size: int) -> bytes:
            return hashlib.sha256(secret + digest + letter + self.session_id).digest()[:size]

        if new_keys:
            await self.send(bytes([NEWKEYS]))
            self._seal = AESGCM(made(b"C", 16)), made(b"A", 12), 0
        self._open = AESGCM(made(b"D", 16)), made(b"B", 12), 0

    async def rekey(self) -> None:
        await self.offer()
        await self.exchange()

    async def keys(self) -> RawSsh:
        """Up to where a login may begin."""
        await self.greet()
        await self.offer()
        await self.exchange()
        return self

    async def service(self) -> RawSsh:
        await self.keys()
        await self.send(bytes([SERVICE_REQUEST]) + string("ssh-userauth"))
        assert await self.wait_for(SERVICE_ACCEPT), self.disconnects()
        return self

    async def log_in(self, username: str, secret: str) -> RawSsh:
        await self.service()
        await self.send(password(username, secret))
        answer = await self.wait_for(USERAUTH_SUCCESS, USERAUTH_FAILURE)
        assert answer is not None, self.disconnects()
        assert answer[0] == USERAUTH_SUCCESS, answer
        return self

    async def channel(self, window: int = 1 << 20) -> RawSsh:
        """Channel 0 on both sides, with sftp."""
        await self.send(opening(window=window))
        assert await self.wait_for(OPEN_CONFIRMATION)
        await self.send(request("subsystem", string("sftp")))
        assert await self.wait_for(SUCCESS)
        return self


def userauth(username: bytes | str, method: str, *rest: bytes, service: str = "ssh-connection") -> bytes:
    return bytes([USERAUTH_REQUEST]) + string(username) + string(service) + string(method) + b"".join(rest)


def password(username: str, secret: bytes | str) -> bytes:
    return userauth(username, "password", b"\0", string(secret))


def opening(kind: str = "session", *rest: bytes, number: int = 0, window: int = 1 << 20) -> bytes:
    return bytes([OPEN]) + string(kind) + u32(number) + u32(window) + u32(32768) + b"".join(rest)


def request(name: str, *rest: bytes, channel: int = 0, reply: bool = True) -> bytes:
    return bytes([REQUEST]) + u32(channel) + string(name) + bytes([reply]) + b"".join(rest)


def data(text: bytes, channel: int = 0) -> bytes:
    return bytes([DATA]) + u32(channel) + string(text)


def _strings(payload: bytes, count: int) -> Sequence[bytes]:
    found = []
    for _ in range(count):
        size = int.from_bytes(payload[:4], "big")
        found.append(payload[4 : 4 + size])
        payload = payload[4 + size :]
    return found
