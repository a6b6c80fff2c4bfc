"""The pages of the partner kit."""

from __future__ import annotations

from tests.unit.manager.site import configure, deploy, make
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App


async def test_from_nothing_to_files(app: App, reader: Browser) -> None:
    assert "no sftp Listener" in text_of(await reader.get("/ui/kit"))
    await configure(app)
    await deploy(app, "door", 2222)
    page = await reader.get("/ui/kit")
    assert "sftp -P 2222 USERNAME@127.0.0.1" in page.text, "the only one there is"
    await deploy(app, "other", 2223)
    assert "Choose a Listener" in text_of(await reader.get("/ui/kit"))
    await make(app, "account-repositories", "partners")
    await make(app, "accounts", "acme", account_repository="partners", username="acme")
    await make(
        app,
        "rules",
        "dedicated",
        inbound_method="password",
        inbound_source="account_repository",
        account_repository="partners",
        outbound_credentials="passthrough",
    )
    catalog = await app.catalog()
    door, acme = catalog.get("listeners", "door").id, catalog.get("accounts", "acme").id
    page = await reader.get(f"/ui/kit?listener={door}&account={acme}&host=sftp.example.com")
    fingerprint = catalog.get("private-keys", "host").facts["fingerprint"]
    assert "sftp -P 2222 acme@sftp.example.com" in page.text
    assert str(fingerprint) in text_of(page)
    assert "no sftp Listener" in text_of(await reader.get(f"/ui/kit?account={acme}")), "no Rule looks for it"
    for file in ("known_hosts", "filezilla", "ssh_config"):
        answer = await reader.get(f"/ui/kit/{file}?listener={door}&account={acme}&host=sftp.example.com")
        assert "sftp.example.com" in answer.text
        assert answer.headers["content-disposition"].startswith("attachment")
    assert (await reader.get(f"/ui/kit/winscp?listener={door}&host=a")).status_code == 404
    assert (await reader.get(f"/ui/kit/known_hosts?listener={door}&host=a%0Ab")).status_code == 404
    wrong = await reader.get(f"/ui/kit?listener={door}&host=<script>")
    assert "must be a host name" in text_of(wrong)
    assert "<script>&" not in wrong.text
    assert "sftp -P" not in wrong.text
    assert (await reader.get("/ui/kit?listener=nobody")).status_code == 404


async def test_a_listener_that_is_not_deployed(app: App, admin: Browser) -> None:
    await configure(app)
    await make(app, "listeners", "door", port=2222, route="r", default_outbound_node="out")
    assert "Choose a Listener, and the host" in text_of(await admin.get("/ui/kit"))
