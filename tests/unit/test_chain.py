"""The hash chain: whatever is done to its lines shows, and where."""

from __future__ import annotations

import pytest

from usp.chain import Chain, Checker, Link, read

EMPTY = Link("dmz-1", "00000000000000aa")


def lines(count: int, start: Link = EMPTY) -> list[bytes]:
    chain = Chain(start)
    return [chain.link(f'{{"event":"e{number}","path":"/\\",\\"seq\\":9"}}') for number in range(count)]


def findings(told: list[bytes], checker: Checker | None = None) -> list[tuple[int, str]]:
    checker = checker or Checker()
    return [(number, wrong) for number, line in enumerate(told, 1) if (wrong := checker.check(line))]


def test_a_line_says_where_it_stands() -> None:
    (line,) = lines(1)
    link = read(line)
    assert link is not None
    assert (link.server, link.chain, link.seq) == ("dmz-1", "00000000000000aa", 1)
    assert line.endswith(f',"server":"dmz-1","chain":"00000000000000aa","seq":1,"hash":"{link.hash}"}}'.encode())


def test_what_was_written_is_right() -> None:
    checker = Checker()
    assert findings(lines(5), checker) == []
    assert checker.notes == ["chain 00000000000000aa begins"]
    assert checker.lines == 5
    assert checker.last["00000000000000aa"].seq == 5


def test_a_chain_goes_on_from_its_last_line() -> None:
    first = lines(3)
    last = read(first[-1])
    assert last is not None
    assert findings(first + lines(2, last)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda told: told[:2] + told[3:], [(3, "a line is missing before it (seq 3)")]),
        (lambda told: told[:1] + told[4:], [(2, "3 lines are missing before it (seq 2 to 4)")]),
        (
            lambda told: [*told[:2], told[2].replace(b'"e2"', b'"eX"'), *told[3:]],
            [(3, "its hash fits neither it nor the line before it: one of the two was changed")],
        ),
        (
            lambda told: [told[0].replace(b'"e0"', b'"eX"'), *told[1:]],
            [(1, "its hash does not fit it: it was changed")],
        ),
        (
            lambda told: [*told[:2], told[1], *told[2:]],
            [(3, "seq 2 comes after seq 2: lines were repeated, or put in another order")],
        ),
        (
            lambda told: [told[0], told[2], told[1], *told[3:]],
            [
                (2, "a line is missing before it (seq 2)"),
                (3, "seq 2 comes after seq 3: lines were repeated, or put in another order"),
                (4, "a line is missing before it (seq 3)"),
            ],
        ),
        (
            lambda told: [*told[:2], told[2][:-9], *told[3:]],
            [
                (3, "this is no line of an audit log: it was changed, or is damaged"),
                (4, "a line is missing before it (seq 3)"),
            ],
        ),
        (
            lambda told: [*told[:2], b"{}", *told[2:]],
            [(3, "this is no line of an audit log: it was changed, or is damaged")],
        ),
    ],
)
def test_what_was_done_shows(change: object, expected: list[tuple[int, str]]) -> None:
    assert callable(change)
    assert findings(change(lines(5))) == expected


def test_an_inserted_line_with_a_hash_of_its_own_shows() -> None:
    told = lines(5)
    second = read(told[1])
    assert second is not None
    forged = Chain(second).link('{"event":"forged"}')
    assert [number for number, _ in findings([*told[:2], forged, *told[3:]])] == [4]


def test_a_later_part_is_checked_from_its_second_line_on() -> None:
    checker = Checker()
    assert findings(lines(5)[2:], checker) == []
    assert checker.notes == ["chain 00000000000000aa is known from seq 3 on: what was before is not checked"]


def test_a_new_chain_is_noted_with_how_the_one_before_ended() -> None:
    other = lines(2, Link("dmz-1", "00000000000000bb"))
    checker = Checker()
    assert findings(lines(2) + other, checker) == []
    assert checker.notes[1].startswith("chain 00000000000000aa ends with seq 2, without audit.stopped")
    assert checker.notes[2] == "chain 00000000000000bb begins"
    orderly = Chain(EMPTY)
    checker = Checker()
    assert findings([orderly.link('{"event":"audit.stopped"}'), *other], checker) == []
    assert checker.notes == ["chain 00000000000000aa begins", "chain 00000000000000bb begins"]
