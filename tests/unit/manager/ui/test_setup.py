"""The guided set-up as pages: what is made, what is downloaded, and how far it is."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import httpx
import pytest

from tests.unit.manager.site import PUBLIC, configure
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.diagnosis import Diagnosis, HostKey
from usp.manager.app import App
from usp.manager.control import Controls
from usp.status import LinkState, LinkStatus, ListenerState, Report, ServerState, TunnelStatus

SERVER: dict[str, Any] = {
    "name": "dmz",
    "host": "127.0.0.1",
    "port": "8444",
    "tunnel": "on",
    "tunnel_port": "2022",
    "client": "lan",
}
PARTNER: dict[str, Any] = {
    "name": "acme",
    "host": "sftp.internal",
    "port": "22",
    "host_keys": PUBLIC,
    "listener_port": "2222",
    "partner": "acme",
    "partner_password": "SECRET-partner",
    "username": "gateway",
    "password": "SECRET-target",
    "do": "make",
}


async def begun(app: App, admin: Browser) -> str:
    """The path of the set-up of a new server."""
    answer = await admin.post("/ui/setup/server", **SERVER)
    assert answer.status_code == 303, text_of(answer)
    return f"/ui/setup/{(await app.server_record('dmz')).id}"


def files_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


async def test_from_nothing_to_a_push(app: App, admin: Browser) -> None:
    first = await admin.get("/ui/setup")
    assert "A server in the DMZ" in text_of(first)
    wrong = await admin.post("/ui/setup/server", **{**SERVER, "host": "a b"})
    assert (wrong.status_code, "must be a host name" in text_of(wrong)) == (422, True)
    assert 'value="lan"' in wrong.text
    path = await begun(app, admin)
    page = await admin.get("/ui/setup")
    assert "Start the server" in text_of(page)
    server = files_of(await admin.post(f"{path}/server-files"))
    assert 'name = "dmz"' in server["usp-server.hcl"]
    before = (await app.catalog()).get("public-keys", "lan").item.model_dump()["public_key"]
    client = files_of(
        await admin.post(f"{path}/client-files", host="127.0.0.1", allow="sftp.internal:22\r\n10.0.0.0/8:22")
    )
    assert 'allow = ["sftp.internal:22", "10.0.0.0/8:22"]' in client["usp-client.hcl"]
    after = (await app.catalog()).get("public-keys", "lan").item.model_dump()["public_key"]
    assert after != before
    made = await admin.post(f"{path}/partner", **PARTNER)
    assert made.status_code == 303, text_of(made)
    page = await admin.get("/ui/setup")
    assert "Partners come in by acme (port 2222)" in text_of(page)
    assert f"{path}/push" in page.text
    assert "SECRET" not in page.text
    notes = [(event.action, event.target) for event in await app.store.events.page()]
    assert ("server.files", "dmz") in notes
    assert ("client.files", "lan") in notes
    assert not any("PRIVATE KEY" in str(event.detail) for event in await app.store.events.page())


async def test_a_push_and_what_became_of_it(app: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.manager.ui.setup.PUSH_SECONDS", 0.1)
    path = await begun(app, admin)
    assert (await admin.post(f"{path}/push")).status_code == 303
    assert "Version 1: pending" in text_of(await admin.get("/ui/setup"))
    assert "in version 1" in text_of(await admin.get("/ui/setup"))


async def test_how_far_it_is(app: App, admin: Browser) -> None:
    await begun(app, admin)
    assert "is connected" not in text_of(await admin.get("/ui/setup"))
    link = LinkStatus(id="l", client="lan", slot=0, state=LinkState.UP, peer="127.0.0.1")
    tunnel = TunnelStatus(
        id="t", name="dmz-tunnel", address="0.0.0.0", port=2022, state=ListenerState.RUNNING, links=(link,)
    )
    report = Report(server="dmz", software="1", boot="b", started_at=1.0, version=0, tunnels=(tunnel,))
    await app.store.servers.observed("dmz", ServerState.RUNNING, "", at=app.clock(), report=report)
    text = text_of(await admin.get("/ui/setup"))
    assert "usp-server dmz answers" in text
    assert "usp-client lan is connected" in text


async def test_what_is_wrong_with_a_partner_or_a_clients_files(app: App, admin: Browser) -> None:
    path = await begun(app, admin)
    wrong = await admin.post(f"{path}/partner", **{**PARTNER, "listener_port": "x", "host_keys": ""})
    assert (wrong.status_code, "read them through the server" in text_of(wrong)) == (422, True)
    assert "SECRET" not in wrong.text
    cases: list[tuple[dict[str, Any], str]] = [
        ({"host": "h", "allow": ""}, "one HOST:PORT a line"),
        ({"host": "h", "allow": 'a"b:22'}, "one HOST:PORT a line"),
        ({"host": "a b", "allow": "a:22"}, "must be a host name"),
    ]
    for fields, said in cases:
        answer = await admin.post(f"{path}/client-files", **fields)
        assert (answer.status_code, said in text_of(answer)) == (422, True), text_of(answer)
    assert (await admin.post("/ui/setup/nobody/server-files")).status_code == 404


async def test_host_keys_are_read_into_the_form(app: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await begun(app, admin)
    key = HostKey(type="ssh-ed25519", bits=256, fingerprint="SHA256:abc", line=PUBLIC)

    async def scan(self: Controls, endpoint: Any, task: Any) -> Diagnosis:
        return Diagnosis(ok=True, host_keys=(key,))

    monkeypatch.setattr(Controls, "scan", scan)
    page = await admin.post(f"{path}/partner", **{**PARTNER, "host_keys": "", "do": "read"})
    assert "SHA256:abc" in text_of(page)
    assert re.search(r'name="host_keys"[^>]*>\s*ssh-ed25519 AAAA', page.text)
    assert "SECRET" not in page.text
    assert (await admin.post(f"{path}/partner", **{**PARTNER, "port": "x", "do": "read"})).status_code == 422


async def test_a_server_whose_authority_is_elsewhere_and_without_a_client(app: App, admin: Browser) -> None:
    await configure(app)
    text = text_of(await admin.get("/ui/setup"))
    assert "private key is not here" in text
    assert "Start the client" not in text
    id = (await app.server_record("server")).id
    answer = await admin.post(f"/ui/setup/{id}/server-files")
    assert (answer.status_code, "is not here" in text_of(answer)) == (422, True)
    assert (await admin.post(f"/ui/setup/{id}/client-files", host="h", allow="a:22")).status_code == 404
    assert "A server in the DMZ" in text_of(await admin.get("/ui/setup?server=new"))


async def test_a_reader_looks_and_changes_nothing(app: App, reader: Browser) -> None:
    assert "An administrator can" in text_of(await reader.get("/ui/setup"))
    await configure(app)
    id = (await app.server_record("server")).id
    revision = (await app.catalog()).revision
    page = await reader.get("/ui/setup")
    assert re.findall(r'method="post" action="([^"]*)"', page.text) == ["/ui/logout"]
    for path in ("server", f"{id}/server-files", f"{id}/client-files", f"{id}/push", f"{id}/partner"):
        answer = await reader.post(f"/ui/setup/{path}", **{**SERVER, **PARTNER})
        assert answer.status_code == 403, path
    assert (await app.catalog()).revision == revision
