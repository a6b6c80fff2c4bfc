"""The certificates that a daemon stands on: how long they are valid, as metric, in the log and in its status.

They are looked at when the daemon starts, at every reload and every hour. The log tells a certificate that comes to its
end once for each step (`usp.expiry`): thirty days, seven, one, and when it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from cryptography import x509

from usp import expiry
from usp.configfile import read_file
from usp.errors import UspError
from usp.log import get_logger
from usp.metrics import CERTIFICATE_EXPIRY
from usp.status import CertificateStatus

log = get_logger(__name__)

INTERVAL: Final = 3600.0

Found = tuple[CertificateStatus, ...]
Look = Callable[[], Awaitable[Found]]
"""How to find out what there is now."""


def of_files(files: Mapping[str, str]) -> Found:
    """Argument of the configuration -> path of its PEM file. What cannot be read is told by who uses it."""
    found = []
    for name, path in files.items():
        try:
            until = expires(read_file(path))
        except UspError as error:
            log.warn("certificate.unreadable", certificate=name, exc_info=error)
        else:
            found.append(CertificateStatus(name=name, until=until))
    return tuple(found)


def expires(pem: str) -> float:
    """When the first certificate of a chain of them all is over; UspError key.unusable."""
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise UspError("key.unusable", "this is not a certificate in PEM form") from None
    return min(each.not_valid_after_utc.timestamp() for each in chain)


class Certificates:
    """`found` is what the last look saw."""

    def __init__(self, look: Look, clock: Callable[[], float] = time.time) -> None:
        self.found: Found = ()
        self._look = look
        self._clock = clock
        self._told: dict[CertificateStatus, int] = {}

    async def look(self) -> None:
        before, self.found = self.found, await self._look()
        for gone in {each.name for each in before} - {each.name for each in self.found}:
            CERTIFICATE_EXPIRY.remove(gone)
        for each in self.found:
            CERTIFICATE_EXPIRY.labels(each.name).set(each.until)
            self._tell(each)
        self._told = {each: step for each, step in self._told.items() if each in self.found}

    async def watch(self) -> None:
        while True:
            try:
                await self.look()
            except UspError as error:
                log.warn("certificates.unknown", exc_info=error)
            await asyncio.sleep(INTERVAL)

    def _tell(self, certificate: CertificateStatus) -> None:
        now = self._clock()
        step = expiry.step(certificate.until, now)
        if step is None or self._told.get(certificate) == step:
            return
        self._told[certificate] = step
        level = log.error if step == expiry.EXPIRED else log.warn
        event = "certificate.expired" if step == expiry.EXPIRED else "certificate.expires"
        reason = expiry.warning(certificate.name, certificate.until, now)
        level(event, certificate=certificate.name, until=certificate.until, reason=reason)
