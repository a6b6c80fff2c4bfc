"""Real socketpairs, real descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from usp.errors import UspError
from usp.server import ipc
from usp.server.messages import Abort, Commit, Events, FromWorker, Partner, Prepare, Prepared, Ready, ToWorker
from usp.status import Complaint

Ends = tuple[ipc.Channel[FromWorker], ipc.Channel[ToWorker]]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    before = open_fds()
    ours, theirs = ipc.pair()
    supervisor, worker = ipc.supervisor_end(ours), ipc.worker_end(theirs)
    yield supervisor, worker
    ours.close()
    theirs.close()
    assert open_fds() == before


def open_fds() -> set[str]:
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


def watched(channel: ipc.Channel[FromWorker]) -> bool:
    return channel._watched


def partner(session: str = "s1") -> Partner:
    return Partner(session=session, version=1, listener="l", node="n", peer_host="192.0.2.1", peer_port=4)


def fill(channel: ipc.Channel[FromWorker]) -> int:
    sent = 0
    while channel.send(Abort(version=sent)):
        sent += 1
    return sent


async def test_messages_go_both_ways(ends: Ends) -> None:
    supervisor, worker = ends
    assert supervisor.send(Commit(version=3))
    problem = Complaint(loc=("listeners", 0), msg="no")
    worker.post(Prepared(version=3, problems=(problem,)))
    assert await worker.receive() == (Commit(version=3), ())
    assert await supervisor.receive() == (Prepared(version=3, problems=(problem,)), ())
    supervisor.close()
    worker.close()
    worker.close()


async def test_receive_waits(ends: Ends) -> None:
    supervisor, worker = ends
    waiting = asyncio.ensure_future(supervisor.receive())
    await asyncio.sleep(0.01)
    assert worker.send(Ready(pid=7))
    assert await waiting == (Ready(pid=7), ())


async def test_a_cancelled_receive_loses_nothing(ends: Ends) -> None:
    supervisor, worker = ends
    waiting = asyncio.ensure_future(supervisor.receive())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    worker.post(Ready(pid=7))
    assert watched(supervisor)
    await asyncio.sleep(0.01)
    assert not watched(supervisor), "nobody waits: the loop must not turn for it"
    assert await supervisor.receive() == (Ready(pid=7), ())


async def test_many_messages_in_a_row(ends: Ends) -> None:
    supervisor, worker = ends
    for pid in range(150):
        assert worker.send(Ready(pid=pid))
    assert [await supervisor.receive() for _ in range(150)] == [(Ready(pid=pid), ()) for pid in range(150)]


async def test_what_is_said_together_comes_in_one_packet(ends: Ends) -> None:
    supervisor, worker = ends
    said = (Events(lines=('{"event":"a\\nb"}',)), Ready(pid=1), Ready(pid=2))
    worker.post(*said)
    worker.post(Ready(pid=3))
    worker.close()
    packet = supervisor._sock.recv(ipc.MAX_PACKET, socket.MSG_PEEK)
    assert packet.count(b"\n") == 2
    assert [await supervisor.receive() for _ in range(5)] == [*((each, ()) for each in said), (Ready(pid=3), ()), None]


async def test_descriptors_travel_and_are_close_on_exec(ends: Ends) -> None:
    supervisor, worker = ends
    read, write = os.pipe()
    assert supervisor.send(partner(), [write])
    os.close(write)
    got = await worker.receive()
    assert got is not None
    message, (fd,) = got
    assert message == partner()
    assert not os.get_inheritable(fd)
    os.write(fd, b"x")
    assert os.read(read, 9) == b"x"
    ipc.close_all([fd, read])


async def test_end_of_file_comes_after_what_was_said(ends: Ends) -> None:
    supervisor, worker = ends
    worker.post(Ready(pid=1))
    worker.close()
    assert await supervisor.receive() == (Ready(pid=1), ())
    assert await supervisor.receive() is None
    assert not supervisor.send(Commit(version=1))
    supervisor.post(Commit(version=1))
    assert supervisor.queued == 0


async def test_the_last_words_of_one_who_left_without_reading(ends: Ends) -> None:
    supervisor, worker = ends
    supervisor.post(Commit(version=1))
    worker.post(Ready(pid=1))
    worker.close()
    assert await supervisor.receive() == (Ready(pid=1), ())
    assert await supervisor.receive() is None


async def test_closing_wakes_the_receiver(ends: Ends) -> None:
    supervisor, _ = ends
    waiting = asyncio.ensure_future(supervisor.receive())
    await asyncio.sleep(0.01)
    supervisor.close()
    assert await waiting is None
    supervisor.post(Commit(version=1))
    assert not supervisor.send(Commit(version=1))


async def test_a_full_socket_refuses_send_and_queues_posts_in_order(ends: Ends) -> None:
    supervisor, worker = ends
    count = fill(supervisor)
    assert count > 100
    fd = ipc.to_memfd(b"snapshot")
    supervisor.post(Prepare(version=5), fds=[fd])
    os.close(fd)
    supervisor.post(Commit(version=5))
    assert supervisor.queued == 2
    for _ in range(50):
        worker._sock.recv(ipc.MAX_PACKET)
    assert not supervisor.send(partner())  # there is room, but it must not overtake what is queued
    for version in range(50, count):
        assert await worker.receive() == (Abort(version=version), ())
    got = await worker.receive()
    assert got is not None
    assert got[0] == Prepare(version=5)
    assert ipc.from_memfd(got[1][0]) == b"snapshot"
    ipc.close_all(got[1])
    assert await worker.receive() == (Commit(version=5), ())
    assert supervisor.queued == 0
    assert supervisor.send(Abort(version=1))


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_closing_a_full_socket_frees_queued_descriptors(ends: Ends, side: str) -> None:
    supervisor, worker = ends
    fill(supervisor)
    fd = ipc.to_memfd(b"snapshot")
    supervisor.post(Prepare(version=5), fds=[fd])
    os.close(fd)
    if side == "ours":
        supervisor.close()
    else:
        worker.close()
        async with asyncio.timeout(2):
            while supervisor.queued:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_what_fits_no_packet(ends: Ends) -> None:
    supervisor, worker = ends
    long = Events(lines=("x" * ipc.MAX_PACKET,))
    assert not worker.send(long)
    with pytest.raises(UspError, match="too long"):
        worker.post(long)
    fits = Events(lines=("x" * (ipc.MAX_PACKET - 100),))
    assert worker.send(fits)
    assert await supervisor.receive() == (fits, ())


@pytest.mark.parametrize(
    ("packet", "reason"),
    [(b"{}", "malformed"), (b"\xff", "malformed"), (b'{"op":"commit","version":1}', "malformed")],
)
async def test_garbage_is_refused_and_its_descriptors_closed(ends: Ends, packet: bytes, reason: str) -> None:
    supervisor, worker = ends
    fd = ipc.to_memfd(b"x")
    socket.send_fds(worker._sock, [packet], [fd])
    os.close(fd)
    with pytest.raises(UspError, match=reason):
        await supervisor.receive()


async def test_a_packet_that_is_cut_off_is_refused(ends: Ends) -> None:
    supervisor, worker = ends
    fd = ipc.to_memfd(b"x")
    socket.send_fds(worker._sock, [b" " * (ipc.MAX_PACKET + 1)], [fd])
    os.close(fd)
    with pytest.raises(UspError, match="cut off"):
        await supervisor.receive()


def test_memfd_holds_what_it_was_given_for_every_reader() -> None:
    data = b"snapshot" * 100_000
    fd = ipc.to_memfd(data)
    assert ipc.from_memfd(fd) == ipc.from_memfd(fd) == data
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_what_is_not_sealed_is_refused() -> None:
    read, write = os.pipe()
    unsealed = os.memfd_create("x", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    for fd in (read, unsealed):
        with pytest.raises(UspError, match="sealed"):
            ipc.from_memfd(fd)
    ipc.close_all([read, write, unsealed])
