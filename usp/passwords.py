"""Passwords: kept as argon2id hashes (RFC 9106), checked in few threads, at a cost that does not tell who exists.

The manager hashes; the manager (Users) and the servers (Accounts) verify. Hashing takes tens of milliseconds and
19 MiB: it runs in a bounded pool, so that a storm of logins neither blocks the loop nor eats all memory. Who has no
password is checked against a decoy, which takes as long and never fits.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import os
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from usp.errors import UspError

MEMORY_KIB: Final = 19456
PASSES: Final = 2
LANES: Final = 1
"""Parameters of new hashes: the second recommendation of OWASP's cheat sheet. A hash carries its own."""
THREADS: Final = 2
MAX_LENGTH: Final = 1024
REMEMBERED_SECONDS: Final = 60.0
MAX_REMEMBERED: Final = 10_000
BUSY_SECONDS: Final = 1

T = TypeVar("T")


def decoy(like: str | None = None) -> str:
    """A hash that no password fits and that costs as much to check as `like`, or as a new one."""
    parameters = like.split("$")[3] if like else f"m={MEMORY_KIB},t={PASSES},p={LANES}"
    salt, tag = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19${parameters}${salt}${tag}"


class Passwords:
    """`remember`: seconds for which a password that fitted is known without hashing; 0 switches that off.

    `queue`: so many may be hashed or wait for it when another is to be verified; else UspError auth.busy.
    """

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        remember: float = 0.0,
        queue: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._decoy = decoy()
        self._remember = remember
        self._queue = queue
        self._waiting = 0
        self._clock = clock
        self._key = os.urandom(32)
        self._fitted: OrderedDict[bytes, float] = OrderedDict()  # what fitted -> until when that is remembered

    async def hash(self, password: str) -> str:
        return await self._run(partial(self._hasher.hash, _normal(password)))

    async def verify(self, stored: str | None, password: str, decoy: str | None = None) -> bool:
        """Whether the password fits. `stored` None: nobody's, which costs as much (as much as `decoy`) and never fits.

        A hash that fitted once is remembered under a key of this process, together with the password that fitted, so
        that a changed password is never known from before.
        """
        password = _normal(password)
        usable = stored is not None and len(password) <= MAX_LENGTH
        against = stored if stored is not None and usable else decoy or self._decoy
        mark = hmac.digest(self._key, f"{against}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        if self._fitted.get(mark, -1.0) > self._clock():
            return True
        self.check_queue()
        fits = await self._run(partial(self._fits, against, password[:MAX_LENGTH])) and usable
        if fits and self._remember:
            self._note(mark)
        return fits

    def check_queue(self) -> None:
        """UspError auth.busy when so many wait that one more is not to be verified."""
        if self._waiting >= self._queue:
            raise UspError("auth.busy", retry_after=BUSY_SECONDS)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fits(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _note(self, mark: bytes) -> None:
        self._fitted[mark] = self._clock() + self._remember
        self._fitted.move_to_end(mark)
        if len(self._fitted) > MAX_REMEMBERED:
            self._fitted.popitem(last=False)

    async def _run(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """Compatible forms of a character are one (RFC 8265's and SASLprep's NFKC): keyboards differ in what they send."""
    return unicodedata.normalize("NFKC", password)
