from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.support import listener, snapshot, tunnel
from usp import plan as planning
from usp.errors import Problem
from usp.model import Startup
from usp.plan import Endpoint, overlap, plan, problems, wanted
from usp.snapshot import ListenerSpec, PathSpec, Snapshot, TunnelSpec

ADDRESSES = ["0.0.0.0", "127.0.0.1", "::", "::1"]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    specs: list[ListenerSpec | TunnelSpec] = []
    places = st.tuples(st.sampled_from(ADDRESSES), st.integers(1, 4))
    for number, (address, port) in enumerate(draw(st.lists(places, unique=True, max_size=6))):
        if draw(st.booleans()):
            specs.append(listener(f"l{number}", port, address=address, startup=draw(st.sampled_from(list(Startup)))))
        else:
            specs.append(tunnel(f"t{number}", port, address=address))
    return snapshot(draw(st.integers(1, 9)), *specs)


orders = st.dictionaries(st.sampled_from([f"{kind}{n}" for kind in "lt" for n in range(6)]), st.booleans())


@given(st.none() | snapshots(), st.none() | snapshots(), orders)
def test_a_plan_performed_on_the_old_gives_the_new(
    old: Snapshot | None, new: Snapshot | None, run_states: dict[str, bool]
) -> None:
    bound = wanted(old, run_states).keys()
    made = plan(bound, new, run_states)
    assert made.open.isdisjoint(bound)
    assert made.keep | made.close == bound
    assert (bound - made.close) | made.open == wanted(new, run_states).keys()
    assert made.keep == bound & wanted(new, run_states).keys()
    again = plan(made.keep | made.open, new, run_states)
    assert not again.open
    assert not again.close


@given(snapshots(), snapshots())
def test_yielding_names_what_is_closed_and_stands_in_the_way(old: Snapshot, new: Snapshot) -> None:
    made = plan(wanted(old, {}).keys(), new, {})
    for endpoint in made.open:
        assert made.yielding(endpoint) == {other for other in made.close if overlap(endpoint, other)}


@given(st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES), st.integers(1, 2), st.integers(1, 2))
def test_overlap(one: str, other: str, port: int, other_port: int) -> None:
    a, b = Endpoint(one, port), Endpoint(other, other_port)
    same_family = ipaddress.ip_address(one).version == ipaddress.ip_address(other).version
    expected = port == other_port and same_family and (one == other or {one, other} & {"0.0.0.0", "::"} != set())
    assert overlap(a, b) is overlap(b, a) is expected


def test_start_up_and_orders() -> None:
    auto, manual, tun = listener("a", 1), listener("m", 2, startup=Startup.MANUAL), tunnel("t", 3)
    made = snapshot(1, auto, manual, tun)

    def running(**run_states: bool) -> set[str]:
        return {spec.id for spec in wanted(made, run_states).values()}

    assert running() == {"a", "t"}
    assert running(m=True, a=False) == {"m", "t"}
    assert running(t=False) == {"a"}
    assert wanted(None, {"a": True}) == {}


def test_endpoints_are_shown_as_one_writes_them() -> None:
    assert str(Endpoint("127.0.0.1", 22)) == "127.0.0.1:22"
    assert str(Endpoint("::1", 22)) == "[::1]:22"
    assert planning.endpoint(listener("a", 22, address="0:0::1")) == Endpoint("::1", 22)


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([listener("a", 1), listener("b", 2), tunnel("c", 3)], []),
        (
            [listener("a", 1), tunnel("c", 1)],
            [Problem(("tunnels", 0, "port"), "'c' wants 127.0.0.1:1, which 'a' has")],
        ),
        (
            [listener("a", 1), listener("a", 2)],
            [Problem(("listeners", 1, "id"), "'a' has an id that another one has")],
        ),
        (
            [listener("a", 1, path=PathSpec(tunnel="t", client="c"))],
            [Problem(("listeners", 0, "path", "tunnel"), "'a' goes through a tunnel that the snapshot lacks")],
        ),
        ([listener("a", 1, path=PathSpec(tunnel="t", client="c")), tunnel("t", 2)], []),
    ],
)
def test_problems(specs: list[ListenerSpec | TunnelSpec], expected: list[Problem]) -> None:
    assert list(problems(snapshot(1, *specs))) == expected


def test_why_something_does_not_listen() -> None:
    spec = listener("l", 1, startup=Startup.MANUAL)
    assert planning.why_not(spec, {}) == "its start-up is manual"
    assert planning.why_not(spec, {"l": False}) == "an administrator stopped it"
