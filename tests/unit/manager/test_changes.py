from __future__ import annotations

from typing import Any

from usp.manager.changes import Change, changes
from usp.model import ListenerType
from usp.status import Intake, LinkState, LinkStatus, ListenerState, ListenerStatus, Report, ServerState, TunnelStatus

RUNNING, AWAY = ServerState.RUNNING, ServerState.UNREACHABLE


def report(version: int = 1, boot: str = "b" * 16, **other: Any) -> Report:
    return Report(server="s", software="1", boot=boot, started_at=0.0, version=version, **other)


def listener(state: ListenerState, reason: str = "") -> ListenerStatus:
    return ListenerStatus(
        id="l", name="l", type=ListenerType.SFTP, address="::", port=22, state=state, reason=reason, sessions=9
    )


def tunnel(*links: LinkStatus) -> TunnelStatus:
    return TunnelStatus(id="t", name="t", address="::", port=23, state=ListenerState.RUNNING, links=links)


def link(id: str, client: str, state: LinkState = LinkState.UP) -> LinkStatus:
    return LinkStatus(id=id, client=client, slot=0, state=state, peer="p")


def found(before: Report | None, after: Report | None, was: ServerState = RUNNING) -> list[Change]:
    return list(changes(was, before, RUNNING, after, "why"))


def test_nothing_has_changed() -> None:
    assert found(report(), report()) == []
    assert found(report(listeners=(listener(ListenerState.RUNNING),)), None) == []


def test_the_server_itself() -> None:
    assert found(report(), report(), AWAY) == [Change("", "unreachable", "running", "why")]
    assert list(changes(RUNNING, report(), AWAY, None, "away")) == [Change("", "running", "unreachable", "away")]
    assert found(report(1), report(2)) == [Change("", "version 1", "version 2")]
    assert found(None, report(2)) == [Change("", "version 0", "version 2")]
    assert found(report(), report(intake=Intake.CLOSED)) == [Change("", "intake open", "intake closed")]
    assert found(report(), report(boot="c" * 16)) == [
        Change("", "boot bbbbbbbb", "boot cccccccc", "it was restarted, release 1")
    ]


def test_its_parts() -> None:
    up = report(listeners=(listener(ListenerState.RUNNING),), tunnels=(tunnel(),))
    down = report(listeners=(listener(ListenerState.FAILED, "port 22 is in use"),), tunnels=(tunnel(),))
    assert found(up, down) == [Change("listener l", "running", "failed", "port 22 is in use")]
    assert found(report(), up) == [Change("listener l", "none", "running"), Change("tunnel t", "none", "running")]
    assert found(up, report(tunnels=(tunnel(),))) == [Change("listener l", "running", "none")]


def test_clients_that_are_connected() -> None:
    one = report(tunnels=(tunnel(link("1", "lan"), link("2", "lan"), link("3", "", LinkState.HANDSHAKING)),))
    none = report(tunnels=(tunnel(link("1", "lan", LinkState.DRAINING)),))
    assert found(none, one) == [Change("client lan on t", "none", "up")]
    assert found(one, report(tunnels=(tunnel(link("9", "lan")),))) == [], "another link is the same client"
    assert found(one, none) == [Change("client lan on t", "up", "none")]
