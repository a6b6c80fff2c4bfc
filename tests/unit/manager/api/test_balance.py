from __future__ import annotations

from tests.unit.manager.api.calls import Api, refused


async def test_the_configuration_for_haproxy(admin: Api, reader: Api, nobody: Api) -> None:
    await admin.configure()
    answer = await reader("GET", "/haproxy.cfg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "frontend partners\n    bind 0.0.0.0:2222\n" in answer.text
    assert "    server server 127.0.0.1:2222\n" in answer.text
    asked = await reader("GET", "/haproxy.cfg?agent_port=2300&bind=::1")
    assert "agent-port 2300" in asked.text
    assert "bind [::1]:2222" in asked.text
    for wrong in ("agent_port=x", "agent_port=70000", "bind=somewhere"):
        refused(await reader("GET", f"/haproxy.cfg?{wrong}"), 422, "request.invalid")
    refused(await nobody("GET", "/haproxy.cfg"), 401, "auth.invalid")
