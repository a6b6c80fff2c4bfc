from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.support import direct, listener, node
from usp.model import FilterAction
from usp.server.dispatch import Link, Refusal, SlotView, gate, place, place_partner, place_tunnel, why_nowhere
from usp.snapshot import FilterSpec, PathSpec
from usp.status import LinkState

PATH = PathSpec(tunnel="t", client="c")
UP = Link(tunnel="t", source="192.0.2.1", client="c", state=LinkState.UP)

links = st.builds(
    Link,
    tunnel=st.sampled_from("tu"),
    source=st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    client=st.sampled_from("cd"),
    state=st.sampled_from(list(LinkState)),
)


@st.composite
def slots(draw: st.DrawFn) -> list[SlotView]:
    view = st.tuples(st.booleans(), st.integers(0, 3), st.lists(links, max_size=3))
    found = draw(st.lists(view, max_size=5))
    return [SlotView(number, ready, n, tuple(held)) for number, (ready, n, held) in enumerate(found)]


def test_the_first_node_whose_filter_allows_wins() -> None:
    inner = node("inner", allow=("192.0.2.0/24",), default=FilterAction.BLOCK)
    outer = node("outer", block=("198.51.100.7",))
    admit = gate(listener("l", 1, nodes=(inner, outer)))
    assert admit("192.0.2.9") is inner
    assert admit("198.51.100.8") is outer
    assert admit("198.51.100.7") is None


def test_direct_mode_has_one_filter() -> None:
    spec = direct("d", 1, FilterSpec(allow=("192.0.2.0/24",), default=FilterAction.BLOCK))
    admit = gate(spec)
    assert admit("192.0.2.9") is spec.direct
    assert admit("198.51.100.7") is None


@given(slots(), st.none() | st.just(PATH), st.integers(0, 1000))
def test_partners_go_where_few_are_and_a_link_is(views: list[SlotView], path: PathSpec | None, turn: int) -> None:
    order = place_partner(views, path, turn)
    able = {
        view.slot
        for view in views
        if view.ready
        and (
            path is None
            or any((link.tunnel, link.client, link.state) == ("t", "c", LinkState.UP) for link in view.links)
        )
    }
    assert len(order) == len(able)
    assert set(order) == able
    sessions = [views[slot].sessions for slot in order]
    assert sessions == sorted(sessions)


@given(slots(), st.integers(0, 1000))
def test_tunnel_sockets_go_where_the_source_has_no_link(views: list[SlotView], turn: int) -> None:
    order = place_tunnel(views, "t", "192.0.2.1", turn)
    assert sorted(order) == [view.slot for view in views if view.ready]
    loads = [
        (
            sum((link.tunnel, link.source) == ("t", "192.0.2.1") for link in views[slot].links),
            len(views[slot].links),
        )
        for slot in order
    ]
    assert loads == sorted(loads)


@given(st.integers(1, 8), st.integers(0, 100))
def test_among_equals_each_has_its_turn(count: int, turn: int) -> None:
    views = [SlotView(slot, True, 0, (UP,)) for slot in range(count)]
    assert {place_partner(views, PATH, turn + step)[0] for step in range(count)} == set(range(count))
    assert {place_tunnel(views, "t", "192.0.2.1", turn + step)[0] for step in range(count)} == set(range(count))


@given(st.integers(1, 8))
def test_one_client_reaches_every_slot(count: int) -> None:
    """Links in the making count, so that connections made at once do not meet in one slot."""
    held: dict[int, tuple[Link, ...]] = dict.fromkeys(range(count), ())
    for turn in range(count):
        views = [SlotView(slot, True, 0, mine) for slot, mine in held.items()]
        best = place_tunnel(views, "t", "192.0.2.1", turn * 3)[0]
        held[best] += (Link("t", "192.0.2.1", "", LinkState.HANDSHAKING),)
    assert all(len(mine) == 1 for mine in held.values())


def test_who_knows_that_the_target_is_down_is_given_nobody() -> None:
    knows, hopes = SlotView(0, True, 0, down=frozenset({"l"})), SlotView(1, True, 5)
    assert place_partner([knows, hopes], None, 0, "l") == (1,)
    assert place_partner([knows, hopes], None, 0, "other") == (0, 1)
    assert place_partner([knows], None, 0, "l") == ()


def test_why_nobody_could_carry_it() -> None:
    knows = SlotView(0, True, 0, (UP,), down=frozenset({"l"}))
    assert why_nowhere([knows], PATH) is Refusal.TARGET_DOWN
    assert why_nowhere([SlotView(0, True, 0)], PATH) is Refusal.TUNNEL_DOWN
    assert why_nowhere([SlotView(0, False, 0, (UP,))], PATH) is Refusal.NO_WORKER


def test_a_listener_that_withholds_no_banner_takes_everybody() -> None:
    there = [SlotView(0, True, 0), SlotView(1, False, 0)]
    honest = listener("l", 1, path=PATH)
    assert place(there, honest, 0) == ()
    assert place(there, honest.model_copy(update={"withhold_banner": False}), 0) == (0,)
    assert place([SlotView(0, True, 0, (UP,))], honest, 0) == (0,)
