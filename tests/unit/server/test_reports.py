from __future__ import annotations

from tests.unit.server.support import listener, tunnel
from usp.server import reports
from usp.status import ListenerState


def test_a_listener_and_a_tunnel() -> None:
    told = reports.listener(listener("l", 22), (ListenerState.RUNNING, "why"), 3, (5, 7))
    assert (told.id, told.port, told.state, told.reason) == ("l", 22, ListenerState.RUNNING, "why")
    assert (told.sessions, told.bytes_in, told.bytes_out) == (3, 5, 7)
    found = reports.tunnel(tunnel("t", 2022), (ListenerState.STOPPED, ""), ())
    assert (found.id, found.port, found.state, found.links) == ("t", 2022, ListenerState.STOPPED, ())
