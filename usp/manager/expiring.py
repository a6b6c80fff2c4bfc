"""The certificates of the whole installation: this manager's files, the items, and what servers report of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from usp.certificates import Certificates, Found, of_files
from usp.manager.store import Store
from usp.model import CaCertificate, ProxyServer, TlsCertificate
from usp.settings import ManagerSettings
from usp.status import CertificateStatus


@dataclass(frozen=True, slots=True)
class Known:
    """`where`: the Proxy Server that reports it, or this manager's name."""

    where: str
    certificate: CertificateStatus


class Expiring:
    """`mine` is watched while this manager runs (usp.certificates); servers watch and report their own."""

    def __init__(self, store: Store, settings: ManagerSettings) -> None:
        self.mine = Certificates(self._look)
        self._store = store
        self._name = settings.name
        self._files = files(settings)

    def replaced(self, settings: ManagerSettings) -> None:
        """The configuration was read anew."""
        self._files = files(settings)

    async def all(self) -> list[Known]:
        """Now, the one that ends first first."""
        names = {record.item.name for record in (await self._store.items.read()).of_kind(ProxyServer.kind)}
        found = [Known(self._name, each) for each in await self._look()]
        for name, server in (await self._store.servers.all()).items():
            if name in names and server.report is not None:
                found += [Known(name, each) for each in server.report.certificates]
        return sorted(found, key=lambda known: (known.certificate.until, known.where, known.certificate.name))

    async def _look(self) -> Found:
        catalog = await self._store.items.read()
        records = [record for kind in (CaCertificate.kind, TlsCertificate.kind) for record in catalog.of_kind(kind)]
        items = tuple(
            CertificateStatus(
                name=f"{record.kind}/{record.item.name}",
                until=datetime.fromisoformat(str(record.facts["not_after"])).timestamp(),
            )
            for record in records
        )
        return (*of_files(self._files), *items)


def files(settings: ManagerSettings) -> dict[str, str]:
    return {"web.tls.cert": settings.web.tls.cert}
