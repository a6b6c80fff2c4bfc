"""Items of all kinds over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.manager.api.calls import Api, documents, refused
from tests.unit.manager.site import PRIVATE, PUBLIC
from usp.manager.api.items import request_schemas
from usp.manager.app import App
from usp.manager.kinds import ENVELOPE, secrets
from usp.model import KINDS, Account
from usp.ssh import keys

PROBE = "/items/ip-filters"
RULE = dict(documents())["rules"]


async def test_the_life_of_an_item(admin: Api) -> None:
    response = await admin("POST", PROBE, {"name": "office", "allow": ["192.0.2.0/24"]})
    assert response.status_code == 201
    made = response.json()
    assert response.headers["location"] == f"/api/v1/items/ip-filters/{made['id']}"
    assert response.headers["etag"] == f'"{made["revision"]}"'
    assert (made["kind"], made["created_at"]) == ("ip-filters", "2026-01-01T12:00:00Z")
    assert (made["block"], made["allow"], made["default"]) == ([], ["192.0.2.0/24"], "allow")
    for key in (made["id"], "office"):
        response = await admin("GET", f"{PROBE}/{key}")
        assert (response.status_code, response.json()) == (200, made)
        assert response.headers["etag"] == f'"{made["revision"]}"'
    response = await admin("PUT", f"{PROBE}/office", {"name": "branch", "default": "block"})
    changed = response.json()
    assert response.status_code == 200
    assert (changed["id"], changed["name"], changed["allow"]) == (made["id"], "branch", [])  # all fields are replaced
    assert changed["revision"] > made["revision"]
    assert response.headers["etag"] == f'"{changed["revision"]}"'
    response = await admin("DELETE", f"{PROBE}/branch")
    assert (response.status_code, response.content) == (204, b"")
    refused(await admin("GET", f"{PROBE}/branch"), 404, "item.not_found")


async def test_what_was_read_can_be_sent_back(admin: Api) -> None:
    await admin.configure()
    for kind, fields in documents():
        path = f"/items/{kind}/{fields['name']}"
        shown = await admin("GET", path)
        again = await admin("PUT", path, shown.json(), headers={"If-Match": shown.headers["etag"]})
        assert (again.status_code, again.json(), again.headers["etag"]) == (200, shown.json(), shown.headers["etag"])


async def test_references_by_name_or_id_are_shown_as_ids(admin: Api) -> None:
    key = await admin.make("public-keys", name="k", public_key=PUBLIC)
    for name, reference in (("one", key["id"]), ("two", "k")):
        node = await admin.make("outbound-nodes", name=name, host="h", host_keys=[reference])
        assert node["host_keys"] == [key["id"]]
    problems = refused(
        await admin("POST", "/items/outbound-nodes", {"name": "x", "host": "h", "host_keys": ["k", "lost"]}),
        422,
        "item.invalid",
    )
    assert problems == [(("host_keys", 1), "there is no Public Key 'lost'")]
    problems = refused(await admin("DELETE", "/items/public-keys/k"), 409, "item.referenced")
    assert len(problems) == 2


async def test_secrets_go_in_and_never_come_out(admin: Api) -> None:
    await admin.configure()
    secret = json.dumps(PRIVATE.reveal())[1:-1]
    shown = await admin("GET", "/items/private-keys/host-key")
    assert shown.json()["private_key"] is None
    assert shown.json()["facts"]["type"] == "ssh-ed25519"
    answers = [shown.text]
    for kind in KINDS:
        answers.append((await admin("GET", f"/items/{kind}")).text)
    answers.append((await admin("POST", "/items/rules", {**RULE, "password": "hush-hush"})).text)
    answers.append((await admin("POST", "/items/private-keys", {"name": "p", "private_key": "hush-hush"})).text)
    answers.append((await admin("POST", "/items/private-keys", {"name": 7, "private_key": ["hush-hush"]})).text)
    for answer in answers:
        assert secret not in answer
        assert "hush" not in answer
        assert "PRIVATE KEY" not in answer


@pytest.mark.parametrize(("wanted", "type_"), [("ed25519", "ssh-ed25519"), ("ecdsa-p256", "ecdsa-sha2-nistp256")])
async def test_keys_can_be_generated(admin: Api, wanted: str, type_: str) -> None:
    key = await admin.make("private-keys", name="new", generate=wanted)
    assert (key["private_key"], key["facts"]["type"]) == (None, type_)
    assert "generate" not in key


async def test_certificates_can_be_made_and_their_public_part_downloaded(admin: Api, reader: Api) -> None:
    ca = await admin.make("ca-certificates", name="root", generate={})
    leaf = await admin.make("tls-certificates", name="leaf", generate={"ca": ca["id"], "dns": ["gw.example"]})
    assert (ca["private_key"], leaf["private_key"]) == (None, None)
    assert (leaf["facts"]["issuer"], leaf["facts"]["names"]) == ("CN=root", "gw.example")
    for kind, made in (("ca-certificates", ca), ("tls-certificates", leaf)):
        answer = await reader("GET", f"/items/{kind}/{made['name']}/public")
        assert (answer.status_code, answer.text) == (200, made["certificate"])
        assert answer.headers["content-disposition"] == f'attachment; filename="{made["name"]}.pem"'
    key = await admin.make("private-keys", name="k", generate="ed25519")
    answer = await reader("GET", f"/items/private-keys/{key['id']}/public")
    assert answer.text == f"{key['facts']['public_key']} k\n"
    await admin.make("public-keys", name="copy", public_key=answer.text)
    assert (await reader("GET", "/items/public-keys/copy/public")).text == answer.text
    refused(await reader("GET", "/items/public-keys/none/public"), 404, "item.not_found")
    refused(await reader("GET", "/items/rules/x/public"), 404, "request.unknown")


async def test_a_passphrase_opens_a_key_and_is_not_kept(admin: Api) -> None:
    key = keys.parse_private(PRIVATE)
    encrypted = key.export_private_key("openssh", "open sesame", rounds=50).decode()
    made = await admin.make("private-keys", name="k", private_key=encrypted, passphrase="open sesame")
    assert made["facts"]["public_key"] == PUBLIC
    assert "passphrase" not in made
    wrong = {"name": "l", "private_key": encrypted, "passphrase": "wrong"}
    problems = refused(await admin("POST", "/items/private-keys", wrong), 422, "item.invalid")
    assert problems == [(("passphrase",), "the passphrase does not open the private key")]


@pytest.mark.parametrize("wanted", ["dsa", ["ed25519"], None])
async def test_only_known_keys_are_generated(admin: Api, wanted: Any) -> None:
    answer = await admin("POST", "/items/private-keys", {"name": "n", "generate": wanted})
    ((loc, _),) = refused(answer, 422, "item.invalid")
    assert loc == ("generate",)


async def test_passwords_of_accounts_are_hashed(app: App, admin: Api) -> None:
    await admin.make("account-repositories", name="r")
    fields = {"name": "a", "account_repository": "r", "username": "u", "password": "hush-hush"}
    made = await admin.make("accounts", **fields)
    assert made["password"] is None

    async def kept() -> str:
        account = (await app.catalog()).get("accounts", "a").item
        assert isinstance(account, Account)
        assert account.password
        return account.password.reveal()

    hashed = await kept()
    assert hashed.startswith("$argon2")
    assert (await admin("PUT", "/items/accounts/a", made)).status_code == 200
    assert await kept() == hashed
    assert (await admin("PUT", "/items/accounts/a", fields)).status_code == 200
    assert (await kept()).startswith("$argon2")


async def test_stale_writes(admin: Api) -> None:
    made = await admin.make("ip-filters", name="f")
    old = {"If-Match": f'"{made["revision"]}"'}
    changed = await admin("PUT", f"{PROBE}/f", {"name": "f", "default": "block"}, headers=old)
    assert changed.status_code == 200
    refused(await admin("PUT", f"{PROBE}/f", {"name": "f"}, headers=old), 412, "item.stale")
    refused(await admin("DELETE", f"{PROBE}/f", headers=old), 412, "item.stale")
    refused(await admin("DELETE", f"{PROBE}/f", headers={"If-Match": "W/garbage"}), 412, "item.stale")
    assert (await admin("GET", f"{PROBE}/f")).json() == changed.json()
    assert (await admin("DELETE", f"{PROBE}/f", headers={"If-Match": changed.headers["etag"]})).status_code == 204


async def test_if_match_takes_any_of_several(admin: Api) -> None:
    made = await admin.make("ip-filters", name="f")
    for tags in (f'"1000", "{made["revision"]}"', "*"):
        answer = await admin("PUT", f"{PROBE}/f", {"name": "f"}, headers={"If-Match": tags})
        assert answer.status_code == 200
    refused(await admin("PUT", f"{PROBE}/f", {"name": "f"}, headers={"If-Match": '"1000", "1001"'}), 412, "item.stale")
    refused(await admin("DELETE", f"{PROBE}/g", headers={"If-Match": '"1"'}), 404, "item.not_found")


async def test_what_did_not_change_is_not_sent_again(admin: Api) -> None:
    tag = (await admin("POST", PROBE, {"name": "f"})).headers["etag"]
    for known in (tag, f"W/{tag}", f'"1000", {tag}', "*"):
        answer = await admin("GET", f"{PROBE}/f", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    listed = await admin("GET", PROBE)
    again = await admin("GET", PROBE, headers={"If-None-Match": listed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await admin.make("ip-filters", name="g")
    again = await admin("GET", PROBE, headers={"If-None-Match": listed.headers["etag"]})
    assert [item["name"] for item in again.json()["items"]] == ["f", "g"]
    assert (await admin("GET", f"{PROBE}/g", headers={"If-None-Match": tag})).status_code == 200


async def test_names_are_unique_in_their_kind(admin: Api) -> None:
    await admin.make("ip-filters", name="x")
    await admin.make("account-repositories", name="x")
    problems = refused(await admin("POST", PROBE, {"name": "x"}), 409, "item.name_taken")
    assert problems == [(("name",), "another IP Filter is called 'x'")]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"", ()),
        (b"{", ()),
        (b"[]", ()),
        (b"null", ()),
        (b"\xff\xfe{}", ()),
        (b"[" * 100_000, ()),
        (b'{"name": "\\ud800"}', ()),
        (b"{}", ("name",)),
        (b'{"name": "a b"}', ("name",)),
        (b'{"name": "n", "allow": ["10.0.0.1/8"]}', ("allow", 0)),
        (b'{"name": "n", "nonsense": 1}', ("nonsense",)),
        (b'{"name": "n", "id": "mine"}', ("id",)),
    ],
)
async def test_wrong_bodies_are_located(admin: Api, body: bytes, loc: tuple[str | int, ...]) -> None:
    response = await admin("POST", PROBE, content=body)
    assert [found for found, _ in refused(response, 422, "item.invalid")] == [loc]


async def test_pages_by_name(admin: Api) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in reversed(names):
        await admin.make("ip-filters", name=name)
    found, after = [], ""
    while True:
        page = (await admin("GET", PROBE, params={"limit": 2, "after": after})).json()
        found.append([item["name"] for item in page["items"]])
        if not (after := page["next"]):
            break
    assert found == [["a", "b"], ["c", "d"], ["e"]]
    whole = (await admin("GET", PROBE, params={"limit": 5})).json()
    assert (len(whole["items"]), whole["next"]) == (5, None)
    for limit in ("0", "1001", "x", "-1"):
        problems = refused(await admin("GET", PROBE, params={"limit": limit}), 422, "request.invalid")
        assert [loc for loc, _ in problems] == [("query", "limit")]


async def test_unknown_kinds_and_methods(admin: Api) -> None:
    for method, path in (("GET", "/items/ducks"), ("POST", "/items/ducks"), ("PUT", "/items/ducks/1")):
        refused(await admin(method, path), 404, "kind.unknown")
    refused(await admin("PUT", "/items/rules"), 405, "request.invalid")
    refused(await admin("PATCH", "/items/rules/x"), 405, "request.invalid")
    refused(await admin("GET", "/items/rules/a/b"), 404, "request.unknown")


async def test_who_may(admin: Api, reader: Api, nobody: Api) -> None:
    await admin.make("ip-filters", name="f")
    assert (await reader("GET", PROBE)).status_code == 200
    for method, path in (("POST", PROBE), ("PUT", f"{PROBE}/f"), ("DELETE", f"{PROBE}/f")):
        refused(await reader(method, path, {"name": "f", "default": "block"}), 403, "auth.forbidden")
        response = await nobody(method, path, {"name": "f"})
        refused(response, 401, "auth.invalid")
        assert response.headers["www-authenticate"] == "Bearer"
    refused(await nobody("GET", PROBE), 401, "auth.invalid")
    refused(await nobody("GET", "/items/ducks"), 401, "auth.invalid")


async def test_every_kind_is_documented(admin: Api, app: App) -> None:
    document = (await admin("GET", "/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for kind, model in KINDS.items():
        operations = [*document["paths"][f"/api/v1/items/{kind}"].values()]
        operations += document["paths"][f"/api/v1/items/{kind}/{{key}}"].values()
        assert len({operation["operationId"] for operation in operations}) == 5
        assert schemas[model.__name__]["properties"].keys() >= model.model_fields.keys()
        answered = schemas[f"{model.__name__}Record"]["properties"]
        assert answered.keys() == model.model_fields.keys() | ENVELOPE
        assert all(answered[name]["type"] == "null" for name in secrets(model))
    assert "private_key" not in request_schemas()["PrivateKey"]["required"]


async def test_answers_are_as_documented(admin: Api) -> None:
    await admin.configure()
    schemas = (await admin("GET", "/openapi.json")).json()["components"]["schemas"]
    for kind, fields in documents():
        shown = (await admin("GET", f"/items/{kind}/{fields['name']}")).json()
        assert shown.keys() == schemas[f"{KINDS[kind].__name__}Record"]["properties"].keys()
