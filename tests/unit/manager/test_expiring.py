"""The certificates of an installation, wherever they are."""

from __future__ import annotations

from pathlib import Path

from tests.unit.manager.site import ADMIN, CA, MANAGER, NOW, make, opened, server_item
from usp.certificates import expires
from usp.manager.catalog import Create
from usp.manager.expiring import Known
from usp.settings import ManagerTls
from usp.status import CertificateStatus, Report, ServerState


async def test_of_items_files_and_servers(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await make(app, "ca-certificates", "our-ca", certificate=CA.cert)
        assert await app.expiring.all() == [
            Known("m", CertificateStatus(name="ca-certificates/our-ca", until=expires(CA.cert)))
        ]
        cert = tmp_path / "web.crt"
        cert.write_text(MANAGER.cert)
        web = app.settings.web.model_copy(update={"tls": ManagerTls(cert=str(cert), key="key")})
        app.expiring.replaced(app.settings.model_copy(update={"web": web}))
        assert [known.certificate.name for known in await app.expiring.all()] == [
            "web.tls.cert",
            "ca-certificates/our-ca",
        ]
        await app.expiring.mine.look()
        assert len(app.expiring.mine.found) == 2
        await make(app, "tls-certificates", "m", certificate=MANAGER.cert, private_key=MANAGER.key)
        await app.write(ADMIN, [Create("proxy-servers", server_item("s", 1) | {"ca_certificate": "our-ca"})])
        theirs = CertificateStatus(name="web.tls.cert", until=1.0)
        report = Report(server="s", software="1", boot="b", started_at=0.0, certificates=(theirs,))
        for name in ("s", "gone"):
            await app.store.servers.observed(name, ServerState.RUNNING, "", at=NOW, report=report)
        first, *others = await app.expiring.all()
        assert first == Known("s", theirs)
        assert {known.where for known in others} == {"m"}
