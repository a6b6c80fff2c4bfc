"""The pages of all kinds of items, over a real store."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.unit.manager.site import ADMIN, configure, deploy, make
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.catalog import Create, Update
from usp.manager.kinds import secrets
from usp.manager.ui.fields import fields_of
from usp.model import KINDS

SHOUT = "<script>alert(1)</script>"


def form_of(text: str) -> dict[str, list[str]]:
    """What a browser would send of the form of the item on that page."""
    (form,) = re.findall(r'<form [^>]*class="panel item-form".*?</form>', text, re.DOTALL)
    form = re.sub(r"<template.*?</template>", "", form, flags=re.DOTALL)
    sent: dict[str, list[str]] = {}

    def add(name: str, value: str) -> None:
        sent.setdefault(html.unescape(name), []).append(html.unescape(value))

    for tag in re.finditer(
        r"<input ([^>]*)>|<textarea ([^>]*)>\n?(.*?)</textarea>|<select ([^>]*)>(.*?)</select>", form, re.DOTALL
    ):
        attributes = tag[1] or tag[2] or tag[4]
        name = re.search(r'\bname="([^"]*)"', attributes)
        if name is None or " disabled" in attributes:
            continue
        if tag[1]:
            value = re.search(r'\bvalue="([^"]*)"', attributes)
            if "checkbox" not in attributes or " checked" in attributes:
                add(name[1], value[1] if value else "")
        elif tag[2]:
            add(name[1], tag[3].replace("\n", "\r\n"))
        else:
            chosen = re.search(r'<option value="([^"]*)" selected', tag[5]) or re.search(r'value="([^"]*)"', tag[5])
            assert chosen is not None
            add(name[1], chosen[1])
    return sent


async def send(browser: Browser, path: str, sent: dict[str, Any]) -> Any:
    return await browser.http.post(path, data=sent, headers={"Origin": "https://manager"})


async def everything(app: App) -> None:
    await configure(app)
    await deploy(app, "door", 2222)
    await make(app, "account-repositories", "partners")
    await make(
        app, "public-keys", "alice", public_key=(await app.catalog()).get("private-keys", "host").facts["public_key"]
    )
    policy = {"preset": "upload_only", "paths": [{"path": "/in/**", "access": "deny"}], "forbidden_names": ["*.exe"]}
    await make(
        app, "accounts", "alice", account_repository="partners", username="alice", public_keys=["alice"], policy=policy
    )
    await make(app, "tunnels", "t", proxy_server="server", port=2022, private_key="host")
    await make(app, "proxy-clients", "c", tunnel="t", public_key="target")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_has_its_pages(app: App, admin: Browser, kind: str) -> None:
    empty = await admin.get(f"/ui/items/{kind}")
    assert "yet" in text_of(empty)
    assert f"/ui/items/{kind}/new" in empty.text
    new = await admin.get(f"/ui/items/{kind}/new")
    for field in fields_of(KINDS[kind]):
        assert field.label in text_of(new), field
        assert not field.help or field.help in html.unescape(text_of(new)), field
    await everything(app)
    listed = await admin.get(f"/ui/items/{kind}")
    for record in (await app.catalog()).of_kind(kind):
        assert f"/ui/items/{kind}/{record.id}" in listed.text
        page = await admin.get(f"/ui/items/{kind}/{record.id}")
        assert page.status_code == 200
        sent = form_of(page.text)
        if "made" in sent:
            sent["made"] = ["given"]
        before = record
        answer = await send(admin, f"/ui/items/{kind}/{record.id}", sent)
        assert answer.status_code == 303, text_of(answer)
        after = (await app.catalog()).get(kind, record.id)
        assert after.item == before.item, "nobody touched the form"


async def test_an_item_is_made_changed_copied_and_deleted(app: App, admin: Browser) -> None:
    new = await admin.get("/ui/items/ip-filters/new")
    sent = form_of(new.text)
    sent |= {"name": ["office"], "allow": ["192.0.2.0/24\r\n2001:db8::/32"], "default": ["block"]}
    made = await send(admin, "/ui/items/ip-filters/new", sent)
    assert made.status_code == 303
    record = (await app.catalog()).get("ip-filters", "office")
    assert record.item.model_dump(mode="json")["allow"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert made.headers["location"] == f"/ui/items/ip-filters/{record.id}"
    page = await admin.get(made.headers["location"])
    assert "IP Filter office was made" in text_of(page)
    sent = form_of(page.text) | {"description": ["of the office"], "enabled": [""]}
    assert (await send(admin, made.headers["location"], sent)).status_code == 303
    item = (await app.catalog()).get("ip-filters", "office").item
    assert (item.description, item.enabled) == ("of the office", False)
    copy = await admin.get(f"/ui/items/ip-filters/new?of={record.id}")
    assert form_of(copy.text)["name"] == ["office-2"]
    assert (await send(admin, "/ui/items/ip-filters/new", form_of(copy.text))).status_code == 303
    assert (await app.catalog()).get("ip-filters", "office-2").item.description == "of the office"
    assert (await admin.post(f"/ui/items/ip-filters/{record.id}/delete")).headers["location"] == "/ui/items/ip-filters"
    assert (await app.catalog()).find("ip-filters", "office") is None
    assert (await admin.get(f"/ui/items/ip-filters/{record.id}")).status_code == 404
    assert (await admin.get("/ui/items/toys")).status_code == 404


async def test_what_is_wrong_is_told_at_the_field(app: App, admin: Browser) -> None:
    sent = form_of((await admin.get("/ui/items/listeners/new")).text)
    sent |= {"name": ["a b"], "port": ["x"], "route": [""]}
    answer = await send(admin, "/ui/items/listeners/new", sent)
    assert answer.status_code == 422
    assert re.search(r'id="field-name"[^>]*value="a b"[^>]*aria-invalid', answer.text)
    assert "must be 1 to 255 letters" in text_of(answer)
    assert "must be a whole number" in text_of(answer)
    await make(app, "ip-filters", "there")
    answer = await send(
        admin,
        "/ui/items/ip-filters/new",
        {**form_of((await admin.get("/ui/items/ip-filters/new")).text), "name": ["there"]},
    )
    assert answer.status_code == 409
    assert "another IP Filter is called" in text_of(answer)


async def test_what_is_used_is_not_deleted(app: App, admin: Browser) -> None:
    await configure(app)
    record = (await app.catalog()).get("rules", "pass")
    page = await admin.get(f"/ui/items/rules/{record.id}")
    assert re.search(r"Used by.*Inbound Node in", text_of(page))
    answer = await admin.post(f"/ui/items/rules/{record.id}/delete")
    assert answer.status_code == 409
    assert "It was not deleted" in text_of(answer)
    assert "refers to" in text_of(answer)
    assert (await app.catalog()).find("rules", "pass")


async def test_a_change_of_somebody_else_is_told_and_not_overwritten(app: App, admin: Browser) -> None:
    await make(app, "ip-filters", "office", allow=["192.0.2.7"])
    record = (await app.catalog()).get("ip-filters", "office")
    path = f"/ui/items/ip-filters/{record.id}"
    sent = form_of((await admin.get(path)).text) | {"allow": ["192.0.2.9"]}
    await app.write(ADMIN, [Update("ip-filters", "office", {"name": "office", "allow": ["192.0.2.8"]})])
    answer = await send(admin, path, sent)
    assert answer.status_code == 412
    text = text_of(answer)
    assert re.search(r"Somebody else has changed it.*Allow 192.0.2.8 192.0.2.9", text)
    assert (await app.catalog()).get("ip-filters", "office").item.model_dump()["allow"] == ("192.0.2.8",)
    assert (await send(admin, path, form_of(answer.text))).status_code == 303, "as you want"
    assert (await app.catalog()).get("ip-filters", "office").item.model_dump()["allow"] == ("192.0.2.9",)
    for revision in ("", "x", "9" * 30):
        assert (await send(admin, path, sent | {"revision": [revision]})).status_code == 422
    await admin.post(f"{path}/delete")
    assert (await send(admin, path, sent)).status_code == 404


async def test_many_at_once(app: App, admin: Browser) -> None:
    for name in ("a", "b", "c"):
        await make(app, "ip-filters", name)
    ids = [record.id for record in (await app.catalog()).of_kind("ip-filters")]
    csrf = form_of((await admin.get("/ui/items/ip-filters/new")).text)["csrf"]
    path = "/ui/items/ip-filters/bulk"
    assert (await send(admin, path, {"csrf": csrf, "id": ids[:2], "verb": ["disable"]})).status_code == 303
    assert [each.item.enabled for each in (await app.catalog()).of_kind("ip-filters")] == [False, False, True]
    assert "2 IP Filters disabled" in text_of(await admin.get("/ui/items/ip-filters"))
    await send(admin, path, {"csrf": csrf, "id": ids[:1], "verb": ["enable"]})
    assert [each.item.enabled for each in (await app.catalog()).of_kind("ip-filters")] == [True, False, True]
    await send(admin, path, {"csrf": csrf, "id": ids[1:], "verb": ["delete"]})
    assert [each.item.name for each in (await app.catalog()).of_kind("ip-filters")] == ["a"]
    assert (await send(admin, path, {"csrf": csrf, "verb": ["delete"]})).status_code == 303
    assert (await send(admin, path, {"csrf": csrf, "id": ids[:1], "verb": ["nonsense"]})).status_code == 422
    assert len((await app.catalog()).of_kind("ip-filters")) == 1


async def test_a_secret_survives_bulk_changes_and_is_never_shown(app: App, admin: Browser) -> None:
    await configure(app)
    record = (await app.catalog()).get("private-keys", "host")
    csrf = form_of((await admin.get("/ui/items/ip-filters/new")).text)["csrf"]
    await send(admin, "/ui/items/private-keys/bulk", {"csrf": csrf, "id": [record.id], "verb": ["disable"]})
    after = (await app.catalog()).get("private-keys", "host")
    assert not after.item.enabled
    assert getattr(after.item, "private_key") == getattr(record.item, "private_key")  # noqa: B009
    for path in (
        f"/ui/items/private-keys/{record.id}",
        "/ui/items/private-keys",
        f"/ui/items/private-keys/new?of={record.id}",
    ):
        page = await admin.get(path)
        assert "PRIVATE KEY" not in page.text
    for kind, model in KINDS.items():
        for record in (await app.catalog()).of_kind(kind):
            text = (await admin.get(f"/ui/items/{kind}/{record.id}")).text
            for name in secrets(model):
                found = getattr(record.item, name)
                assert found is None or html.escape(found.reveal()).splitlines()[1] not in text


async def test_a_key_and_certificates_are_made_here(app: App, admin: Browser) -> None:
    csrf = form_of((await admin.get("/ui/items/ip-filters/new")).text)["csrf"]
    for kind, name, more in (
        ("private-keys", "k", {"generate": ["ed25519"]}),
        ("ca-certificates", "ca", {"generate.days": ["100"]}),
        ("tls-certificates", "t", {"generate.ca": ["ca"], "generate.dns": ["a.example\r\nb.example"]}),
    ):
        sent = {"csrf": csrf, "name": [name], "made": ["here"], **more}
        answer = await send(admin, f"/ui/items/{kind}/new", sent)
        assert answer.status_code == 303, text_of(answer)
    catalog = await app.catalog()
    assert catalog.get("private-keys", "k").facts["type"] == "ssh-ed25519"
    assert catalog.get("tls-certificates", "t").facts["names"] == "a.example, b.example"
    wrong = {"csrf": csrf, "name": ["u"], "made": ["here"], "generate.ca": ["nobody"]}
    answer = await send(admin, "/ui/items/tls-certificates/new", wrong)
    assert answer.status_code == 422
    assert "there is no CA Certificate" in text_of(answer)
    given = {"csrf": csrf, "name": ["p"], "made": ["given"], "private_key": ["x"], "passphrase": ["y"]}
    assert (await send(admin, "/ui/items/private-keys/new", given)).status_code == 422


async def test_scripts_in_every_field_stay_text(app: App, admin: Browser) -> None:
    """What somebody wrote into an item, or a form that is refused, is shown as it is."""
    for kind in KINDS:
        sent = {name: [SHOUT] for name in form_of((await admin.get(f"/ui/items/{kind}/new")).text)}
        csrf = form_of((await admin.get(f"/ui/items/{kind}/new")).text)["csrf"]
        answer = await send(admin, f"/ui/items/{kind}/new", sent | {"csrf": csrf})
        assert answer.status_code in (303, 422), kind
        assert SHOUT not in answer.text
        assert "&lt;script&gt;" in answer.text
    await make(app, "ip-filters", "shout", description=f'{SHOUT}"><img src=x onerror=alert(2)>')
    record = (await app.catalog()).get("ip-filters", "shout")
    for path in ("/ui/items/ip-filters", f"/ui/items/ip-filters/{record.id}", f"/ui/items/ip-filters?q={SHOUT}"):
        page = await admin.get(path)
        assert SHOUT not in page.text
        assert "<img" not in page.text.replace('<img src="/ui/static', "")


async def test_who_may_only_read_sees_all_and_changes_nothing(app: App, reader: Browser) -> None:
    await everything(app)
    revision = (await app.catalog()).revision
    csrf = re.findall(r'name="csrf" value="([^"]*)"', (await reader.get("/ui/status")).text)[:1]
    for kind in KINDS:
        (record, *_) = (await app.catalog()).of_kind(kind)
        for path in (f"/ui/items/{kind}", f"/ui/items/{kind}/{record.id}"):
            page = await reader.get(path)
            assert page.status_code == 200
            posts = set(re.findall(r'method="post" action="([^"]*)"', page.text)) - {"/ui/logout"}
            buttons = re.findall(r"<button[^>]*>(?:<svg.*?</svg>)?(Save|Delete|Enable|Disable|Make)", page.text)
            assert buttons == [], path
            assert all(each.endswith(("/bulk", record.id, "/test")) for each in posts), posts
        for path in ("new", "bulk", record.id, f"{record.id}/delete"):
            sent = {
                "csrf": csrf,
                "name": ["x"],
                "revision": [str(record.revision)],
                "id": [record.id],
                "verb": ["delete"],
            }
            answer = await send(reader, f"/ui/items/{kind}/{path}", sent)
            assert answer.status_code == 403, (kind, path)
    assert (await app.catalog()).revision == revision


async def test_the_history_of_an_item(app: App, admin: Browser) -> None:
    await configure(app)
    record = (await app.catalog()).get("rules", "pass")
    changed = {**record.item.model_dump(mode="json"), "description": SHOUT}
    await app.write(ADMIN, [Update("rules", "pass", changed)])
    path = f"/ui/items/rules/{record.id}"
    assert f"{path}/history" in (await admin.get(path)).text
    page = await admin.get(f"{path}/history")
    assert SHOUT not in page.text
    assert re.search(r"changed by admin.*Description.*nothing.*alert.*made by admin", html.unescape(text_of(page)))
    await make(app, "ip-filters", "gone")
    gone = (await app.catalog()).get("ip-filters", "gone").id
    await admin.post(f"/ui/items/ip-filters/{gone}/delete")
    assert "deleted by alice" in text_of(await admin.get(f"/ui/items/ip-filters/{gone}/history"))
    key = (await app.catalog()).get("private-keys", "host").id
    page = await admin.get(f"/ui/items/private-keys/{key}/history")
    assert "PRIVATE KEY" not in page.text
    assert "a secret" in text_of(page)
    assert (await admin.get("/ui/items/rules/nobody/history")).status_code == 404


async def test_what_there_is_to_pick(app: App, admin: Browser) -> None:
    await app.write(ADMIN, [Create("ip-filters", {"name": f"f{n}"}) for n in range(120)])
    found = (await admin.get("/ui/options/ip-filters?q=F11")).json()
    assert (found["all"], [name for _, name in found["items"]]) == (120, ["f11", *(f"f11{n}" for n in range(10))])
    page = await admin.get("/ui/items/inbound-nodes/new?ip_filter=f7&priority=5")
    assert re.search(r'<input [^>]*name="ip_filter" value="f7" list=', page.text)
    assert form_of(page.text)["priority"] == ["5"]
