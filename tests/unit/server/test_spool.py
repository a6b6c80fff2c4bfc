"""Lines that wait for the managers: in order, bounded, and counted when they go."""

from __future__ import annotations

from usp.server.spool import Spool


def filled(size: int, count: int) -> Spool:
    spool = Spool(size)
    for number in range(1, count + 1):
        spool.add(b"%04d" % number)
    return spool


def test_what_is_not_stored_stays() -> None:
    spool = filled(100, 5)
    assert spool.batch(100) == [b"0001", b"0002", b"0003", b"0004", b"0005"]
    spool.stored(2)
    assert (spool.batch(100), len(spool), spool.dropped) == ([b"0003", b"0004", b"0005"], 3, 0)
    spool.stored(2)
    spool.stored(1)
    assert len(spool) == 3
    spool.stored(99)
    assert spool.batch(100) == []


def test_batches_are_bounded_but_never_empty() -> None:
    spool = filled(100, 5)
    assert spool.batch(8) == [b"0001", b"0002"]
    assert spool.batch(1) == [b"0001"]


def test_when_it_is_full_the_oldest_go() -> None:
    spool = filled(12, 5)
    assert (spool.batch(100), spool.dropped) == ([b"0003", b"0004", b"0005"], 2)
    spool.stored(3)
    spool.add(b"0006")
    assert (spool.batch(100), spool.dropped) == ([b"0004", b"0005", b"0006"], 2)


def test_nothing_is_kept_without_room() -> None:
    spool = filled(0, 3)
    assert (spool.batch(100), spool.dropped) == ([], 3)
    assert filled(2, 1).dropped == 1


def test_it_may_begin_in_the_middle_of_a_chain() -> None:
    spool = Spool(100)
    spool.begin(7)
    spool.add(b"0007")
    spool.stored(6)
    assert spool.batch(100) == [b"0007"]
    spool.stored(7)
    assert len(spool) == 0
