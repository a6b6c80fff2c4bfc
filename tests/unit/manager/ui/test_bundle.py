"""Files for the hosts of servers and clients: the daemons take them as they are."""

from __future__ import annotations

import io
import ssl
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from tests.unit.manager.site import CA, PRIVATE, PUBLIC
from usp.manager.ui.bundle import ETC, for_client, for_server
from usp.model import CaCertificate, ProxyClient, ProxyServer, Tunnel
from usp.secret import Secret
from usp.settings import ClientSettings, ServerSettings, load

NOW = datetime.now(UTC)
AUTHORITY = CaCertificate(name="ca", certificate=CA.cert, private_key=Secret(CA.key))


def unpacked(content: bytes, folder: Path) -> Path:
    """As unzip does it, at another place than /opt."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            path = folder / info.filename
            path.parent.mkdir(exist_ok=True)
            path.write_text(archive.read(info).decode().replace(ETC, str(folder)))
            path.chmod(info.external_attr >> 16)
    return folder


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "usp.dmz.example.com"])
def test_a_server_takes_its_files(tmp_path: Path, host: str) -> None:
    server = ProxyServer(name="dmz-1", host=host, port=9444, ca_certificate="c", tls_certificate="t")
    folder = unpacked(for_server(server, AUTHORITY, now=NOW), tmp_path)
    settings = load(ServerSettings, folder / "usp-server.hcl", {})
    assert (settings.name, settings.web.port) == ("dmz-1", 9444)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.web.tls.cert, settings.web.tls.key)
    certificate = x509.load_pem_x509_certificate(Path(settings.web.tls.cert).read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(CA.cert.encode()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["usp://server/dmz-1"]
    assert host in [str(each.value) for each in names]
    assert "dmz-1" in (folder / "README.txt").read_text()


def test_each_download_has_a_key_of_its_own(tmp_path: Path) -> None:
    server = ProxyServer(name="dmz-1", host="h", ca_certificate="c", tls_certificate="t")
    keys = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folder = unpacked(for_server(server, AUTHORITY, now=NOW), tmp_path / name)
        keys.append((folder / "tls/usp-server.key").read_text())
    assert keys[0] != keys[1]


def test_a_client_takes_its_files(tmp_path: Path) -> None:
    client = ProxyClient(name="lan-1", tunnel="t", public_key="k")
    tunnel = Tunnel(name="t", proxy_server="s", port=2022, private_key="k")
    line = " ".join(PUBLIC.split()[:2])
    content = for_client(client, tunnel, "usp.dmz.example.com", line, PRIVATE, ["10.0.0.0/8:22", "a:22"], now=NOW)
    settings = load(ClientSettings, unpacked(content, tmp_path) / "usp-client.hcl", {})
    assert (settings.name, settings.tunnel.host, settings.tunnel.port) == ("lan-1", "usp.dmz.example.com", 2022)
    assert tuple(settings.allow) == ("10.0.0.0/8:22", "a:22")
    assert (tmp_path / "ssh/usp-client").read_text() == PRIVATE.reveal()
