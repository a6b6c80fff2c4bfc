"""What needs a person."""

from __future__ import annotations

from dataclasses import replace

from usp.manager.diff import Due
from usp.manager.ui.concerns import Expiry, concerns
from usp.manager.ui.overview import Client, Port, Row
from usp.manager.ui.words import Tone, chip, of_tone
from usp.status import Intake, ListenerState, ServerState

DAY = 86_400


def port(name: str, state: ListenerState, reason: str = "", clients: tuple[Client, ...] = ()) -> Port:
    return Port("listeners", name, name, "0.0.0.0:1", "", chip(state), reason, 0, True, True, clients)


def client(name: str, tone: Tone, word: str) -> Client:
    return Client(name, 1, 2, of_tone(tone, word), "")


FINE = Row(
    id="i",
    name="s",
    where="h:1",
    chip=chip(ServerState.RUNNING),
    reason="Version 1 is in force.",
    live=True,
    seen_at=None,
    desired=1,
    version=1,
    software="",
    intake=chip(Intake.OPEN),
    drained=False,
    sessions=0,
    due=Due(False),
    listeners=(port("l", ListenerState.RUNNING),),
    tunnels=(port("t", ListenerState.RUNNING, clients=(client("c", Tone.OK, "connected"),)),),
)


def told(row: Row, *certificates: Expiry) -> list[tuple[str, str]]:
    return [(each.what, each.text) for each in concerns([row], certificates, 0.0)]


def test_nothing() -> None:
    assert told(FINE) == []
    assert told(replace(FINE, due=None)) == []


def test_a_server_that_does_not_answer() -> None:
    row = replace(FINE, chip=chip(ServerState.UNREACHABLE), reason="It is away.", drained=True)
    assert told(row) == [("s", "It is away."), ("s", "It is drained: it takes no new sessions.")]


def test_ports_and_clients() -> None:
    clients = (client("gone", Tone.BAD, "not connected"), client("half", Tone.WARN, "1 of 2 links"))
    row = replace(
        FINE,
        listeners=(port("a", ListenerState.FAILED, "address in use"), port("b", ListenerState.FAILED)),
        tunnels=(port("t", ListenerState.RUNNING, clients=clients),),
    )
    assert told(row) == [
        ("Proxy Client gone on s", "It is not connected."),
        ("a on s", "address in use"),
        ("b on s", "It is failed."),
        ("Proxy Client half on s", "It has 1 of 2 links."),
    ]
    assert {each.path for each in concerns([row], (), 0.0)} == {"/ui/status?open=s"}


def test_what_was_not_pushed() -> None:
    (concern,) = concerns([replace(FINE, due=Due(True))], (), 0.0)
    assert (concern.tone, concern.path) == (Tone.WARN, "/ui/servers/s/push")
    (concern,) = concerns([replace(FINE, due=Due(True, "rules.r: is disabled"))], (), 0.0)
    assert (concern.tone, concern.text) == (Tone.BAD, "Its configuration cannot be pushed: rules.r: is disabled.")


def test_certificates() -> None:
    found = concerns(
        [], [Expiry("m", "web.tls.cert", -DAY), Expiry("m", "a", 10 * DAY), Expiry("m", "b", 99 * DAY)], 0.0
    )
    assert [(each.tone, each.text) for each in found] == [
        (Tone.BAD, "Certificate web.tls.cert expired on 1969-12-31: renew it."),
        (Tone.WARN, "Certificate a expires in 10 days, on 1970-01-11: renew it."),
    ]
