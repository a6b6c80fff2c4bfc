"""Webhooks over HTTP."""

from __future__ import annotations

from tests.unit.manager.api.calls import Api, refused

HOOK = {"name": "siem", "url": "https://hooks.example/usp", "wanted": {"action": "file.", "outcome": "denied"}}


async def test_a_webhook_from_beginning_to_end(admin: Api, reader: Api) -> None:
    made = await admin("POST", "/webhooks", HOOK)
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    refused(await admin("POST", "/webhooks", HOOK), 409, "webhook.exists")
    (shown,) = (await reader("GET", "/webhooks")).json()["items"]
    assert (shown["name"], shown["wanted"], shown["enabled"]) == ("siem", HOOK["wanted"], True)
    assert "secret" not in shown
    refused(await reader("POST", "/webhooks", HOOK), 403, "auth.forbidden")
    assert (await admin("PATCH", "/webhooks/siem", {"enabled": False})).status_code == 204
    assert (await admin("GET", "/webhooks")).json()["items"][0]["enabled"] is False
    refused(await admin("PATCH", "/webhooks/none", {"enabled": True}), 404, "webhook.not_found")
    assert (await admin("DELETE", "/webhooks/siem")).status_code == 204
    refused(await admin("DELETE", "/webhooks/siem"), 404, "webhook.not_found")
    wrong = await admin("POST", "/webhooks", {**HOOK, "url": "https://127.0.0.1/"})
    assert refused(wrong, 422, "request.invalid") == [(("url",), "leads to this machine or its link")]
