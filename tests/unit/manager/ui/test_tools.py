"""Tools beside the forms, against a real management port; the worker there is a stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import PUBLIC, configure, deploy, make
from tests.unit.manager.ui.conftest import Browser, text_of
from tests.unit.server.support import free_port
from usp.diagnosis import Diagnosis, HostKey
from usp.manager.app import App
from usp.manager.control import Controls
from usp.manager.ui.tools import key_name


@pytest.fixture
async def configured(app: App, tmp_path: Path) -> AsyncIterator[App]:
    management = free_port()
    async with server(management, files(tmp_path / "tls")):
        await configure(app, management)
        await deploy(app, "door", 2222)
        await make(app, "tunnels", "t", proxy_server="server", port=2022, private_key="host")
        await make(app, "proxy-clients", "c", tunnel="t", public_key="target")
        yield app


async def id_of(app: App, kind: str, name: str) -> str:
    return (await app.catalog()).get(kind, name).id


async def test_an_address_is_tested(app: App, reader: Browser) -> None:
    await make(app, "ip-filters", "office", block=["192.0.2.0/24"])
    path = f"/ui/items/ip-filters/{await id_of(app, 'ip-filters', 'office')}"
    assert "Test an address" in text_of(await reader.get(path))
    part = {"Origin": "https://manager", "HX-Request": "true"}
    for address, said in (("192.0.2.7", "blocked"), ("198.51.100.1", "allowed"), ("x", "not an IP address")):
        answer = await reader.post(f"{path}/test", headers=part, address=address)
        assert (answer.status_code, said in text_of(answer)) == (200, True)
        assert "<html" not in answer.text
    assert (await reader.post(f"{path}/test", address="192.0.2.7")).headers["location"] == path
    assert "192.0.2.7: " in text_of(await reader.get(path))
    assert (await reader.post(f"{path}/test", address="x")).status_code == 422
    assert (await reader.post("/ui/items/ip-filters/nobody/test", address="::1")).status_code == 404


async def test_public_parts(configured: App, reader: Browser) -> None:
    for kind, name, begins in (
        ("private-keys", "host", "ssh-ed25519 "),
        ("public-keys", "target", "ssh-ed25519 "),
        ("tls-certificates", "m", "-----BEGIN CERTIFICATE"),
    ):
        path = f"/ui/items/{kind}/{await id_of(configured, kind, name)}"
        assert f"{path}/public" in (await reader.get(path)).text
        answer = await reader.get(f"{path}/public")
        assert answer.text.startswith(begins)
        assert "PRIVATE" not in answer.text
        assert name in answer.headers["content-disposition"]
    assert (await reader.get("/ui/items/rules/pass/public")).status_code == 404


async def test_a_login_is_explained(configured: App, admin: Browser) -> None:
    page = await admin.get("/ui/explain?server=server&listener=door")
    assert "door" in text_of(page)
    ask: dict[str, Any] = {"server": "server", "listener": "door", "source": "192.0.2.7", "user": "alice"}
    answer = await admin.post("/ui/explain", **ask)
    assert "nothing refuses it" in text_of(answer)
    assert 'value="192.0.2.7"' in answer.text
    tried = await admin.post("/ui/explain", **ask, probe="on")
    assert "What the server found" in text_of(tried)
    with_login = await admin.post("/ui/explain", **ask, probe="on", login="given", username="u", password="hidden!")
    assert "What the server found" in text_of(with_login)
    assert "hidden!" not in with_login.text
    for changed, status, said in (
        ({"source": "x"}, 422, "not an IP address"),
        ({"server": "nobody"}, 404, "no Proxy Server"),
        ({"probe": "on", "login": "given"}, 422, "a user name and a password"),
        ({"probe": "on", "login": "dedicated"}, 422, "dedicated"),
    ):
        answer = await admin.post("/ui/explain", **{**ask, **changed})
        assert (answer.status_code, said in text_of(answer)) == (status, True), text_of(answer)


async def test_a_reader_explains_and_does_not_probe(configured: App, reader: Browser) -> None:
    ask: dict[str, Any] = {"server": "server", "listener": "door", "source": "192.0.2.7", "user": "alice"}
    assert "probe" not in (await reader.get("/ui/explain")).text
    assert (await reader.post("/ui/explain", **ask)).status_code == 200
    assert (await reader.post("/ui/explain", **ask, probe="on")).status_code == 403
    assert "Only administrators" in text_of(await reader.get("/ui/scan"))
    assert (await reader.post("/ui/scan", host="h", server="server")).status_code == 403
    assert (await reader.post("/ui/scan/pin", host="h", line=PUBLIC)).status_code == 403


async def test_nothing_to_explain_or_scan(admin: Browser) -> None:
    assert "nothing to explain yet" in text_of(await admin.get("/ui/explain"))
    assert "no Proxy Server that could look" in text_of(await admin.get("/ui/scan"))


async def test_host_keys_are_read_and_pinned(configured: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    key = HostKey(type="ssh-ed25519", bits=256, fingerprint="SHA256:abc", line=PUBLIC)
    asked: list[Any] = []

    async def scan(self: Controls, endpoint: Any, task: Any) -> Diagnosis:
        asked.append(task)
        return Diagnosis(ok=True, host_keys=(key,))

    monkeypatch.setattr(Controls, "scan", scan)
    node = await id_of(configured, "outbound-nodes", "out")
    assert "The target of Outbound Node out" in text_of(await admin.get(f"/ui/scan?node={node}"))
    client = await id_of(configured, "proxy-clients", "c")
    asks: list[dict[str, Any]] = [{"node": node}, {"host": "sftp.internal", "port": "2022"}]
    for fields in asks:
        answer = await admin.post("/ui/scan", server="server", through=client, **fields)
        assert "SHA256:abc" in text_of(answer)
    assert [(task.host, task.port) for task in asked] == [("127.0.0.1", 22), ("sftp.internal", 2022)]
    assert all(task.path is not None for task in asked)
    kept = await admin.post("/ui/scan/pin", host="sftp.internal", line=PUBLIC)
    assert kept.status_code == 303
    assert (await configured.catalog()).get("public-keys", "sftp-internal-ed25519")
    pinned = await admin.post("/ui/scan/pin", node=node, line=PUBLIC)
    assert pinned.headers["location"] == f"/ui/items/outbound-nodes/{node}"
    catalog = await configured.catalog()
    keys = catalog.get("outbound-nodes", "out").item.model_dump()["host_keys"]
    assert [catalog.records[id].item.name for id in keys] == ["target", "out-ed25519"]


async def test_what_cannot_be_scanned(configured: App, admin: Browser) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"server": ""}, 422, "choose the server"),
        ({"port": "x"}, 422, "from 1 to 65535"),
        ({"host": "a b"}, 422, "host"),
        ({"through": "nobody"}, 404, "no Proxy Client"),
        ({"node": "nobody"}, 404, "no Outbound Node"),
    ]
    for fields, status, said in cases:
        answer = await admin.post("/ui/scan", **{"host": "h", "server": "server", **fields})
        assert (answer.status_code, said in text_of(answer)) == (status, True), text_of(answer)


async def test_names_of_keys_that_are_kept(configured: App) -> None:
    catalog = await configured.catalog()
    assert key_name(catalog, "a b!", "ecdsa-sha2-nistp256 AAAA") == "a-b-ecdsa-nistp256"
    assert key_name(catalog, "", "") == "host-key"
    await make(configured, "public-keys", "x-ed25519", public_key=PUBLIC)
    assert key_name(await configured.catalog(), "x", PUBLIC) == "x-ed25519-2"
