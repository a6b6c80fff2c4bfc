"""Users, as administrators see them."""

from __future__ import annotations

from typing import Any

from tests.unit.manager.ui.conftest import PASSWORD, Browser, text_of
from usp.manager.app import App
from usp.manager.store.rows import Factor, Role
from usp.secret import Secret

NEW: dict[str, Any] = {"username": "dora", "role": "read_only", "full_name": "Dora D.", "email": "dora@example.org"}


async def test_from_making_to_deleting(app: App, admin: Browser) -> None:
    assert (await admin.post("/ui/users", **NEW, password="a password of dora's")).status_code == 303
    dora = await app.administrators.find("dora")
    assert (dora.role, dora.full_name, dora.email) == (Role.READ_ONLY, "Dora D.", "dora@example.org")
    assert "Dora D." in text_of(await admin.get("/ui/users"))
    path = f"/ui/users/{dora.id}"
    changed = await admin.post(path, role="admin", full_name="Dora", email="", enabled="on")
    assert changed.status_code == 303
    assert (await app.administrators.find("dora")).role is Role.ADMIN
    _, login, _ = await app.logins.login("dora", "a password of dora's", "198.51.100.7")
    _, _ = await app.administrators.add_token("ci", dora, author="test")
    page = await admin.get(path)
    assert "198.51.100.7" in page.text
    assert "ci" in text_of(page)
    assert (await admin.post(f"{path}/logins/{login.id}/end")).status_code == 303
    (token,) = await app.store.users.tokens(dora.id)
    assert (await admin.post(f"{path}/tokens/{token.id}/delete")).status_code == 303
    assert await app.store.users.tokens(dora.id) == []
    assert (await admin.post(f"{path}/password", new="another password of dora's")).status_code == 303
    await app.logins.login("dora", "another password of dora's", "192.0.2.9")
    await admin.post(path, role="read_only", full_name="", email="")
    assert not (await app.administrators.find("dora")).enabled
    assert (await admin.post(f"{path}/delete")).headers["location"] == "/ui/users"
    assert [user.name for user in await app.store.users.all()] == ["alice"]


async def test_what_is_wrong(app: App, admin: Browser) -> None:
    alice = await app.administrators.find("alice")
    for fields, status, said in (
        ({**NEW, "username": "a b"}, 422, "must be 1 to 255"),
        ({**NEW, "password": "short"}, 422, "must have"),
        ({**NEW, "username": "alice"}, 409, "exists"),
        ({**NEW, "role": "boss"}, 422, "role"),
    ):
        answer = await admin.post("/ui/users", **fields)
        assert (answer.status_code, said in text_of(answer)) == (status, True), text_of(answer)
        assert "Dora D." in answer.text, "what was typed is still there"
    path = f"/ui/users/{alice.id}"
    assert (await admin.post(path, role="read_only", enabled="on")).status_code == 409, "the last administrator"
    assert (await admin.post(f"{path}/delete")).status_code == 409
    assert (await admin.post(f"{path}/password", new="short")).status_code == 422
    assert (await admin.get("/ui/users/nobody")).status_code == 404


async def test_a_second_factor_is_reset(app: App, admin: Browser) -> None:
    user = await app.administrators.add("erin", Role.READ_ONLY, PASSWORD, author="test")
    await app.store.factors.put(Factor(user.id, Secret("JBSWY3DPEHPK3PXP"), app.clock(), app.clock()))
    assert "Take it away" in text_of(await admin.get(f"/ui/users/{user.id}"))
    assert (await admin.post(f"/ui/users/{user.id}/totp/reset")).status_code == 303
    assert await app.factors.of(user.id) is None


async def test_lockouts(app: App, admin: Browser) -> None:
    await app.store.lockouts.count(["user:mallory"], lambda subject, failures: None, now=app.clock())
    assert "user:mallory" in text_of(await admin.get("/ui/users"))
    assert (await admin.post("/ui/lockouts/release", subject="user:mallory")).status_code == 303
    assert "user:mallory" not in text_of(await admin.get("/ui/users")).replace("against user:mallory", "")


async def test_a_reader_sees_none_of_it(app: App, reader: Browser) -> None:
    bob = await app.administrators.find("bob")
    assert "/ui/users" not in (await reader.get("/ui/account")).text
    for path in ("/ui/users", f"/ui/users/{bob.id}"):
        assert (await reader.get(path)).status_code == 403
    for path in ("", f"/{bob.id}", f"/{bob.id}/password", f"/{bob.id}/delete", f"/{bob.id}/totp/reset"):
        answer = await reader.post(f"/ui/users{path}", username="x", role="admin", new="a new password of bob's")
        assert answer.status_code == 403
    assert (await reader.post("/ui/lockouts/release", subject="user:x")).status_code == 403
    assert (await app.administrators.find("bob")).role is Role.READ_ONLY
