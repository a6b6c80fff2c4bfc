"""A worker that speaks messages.py but no SSH: it greets partners with `slot version node` and echoes nothing.

A snapshot with a listener named "poison" is complained about, one with "lethal" kills it. A tunnel socket sends the
client's name and a newline to be UP, and is DOWN when it closes. A partner that sends "wrong NAME" or "right NAME" has
logged in so; "try NAME" asks whether the target named "target" may be tried, and writes the answer; "denied NAME" and
"accepted NAME" say what came of it. A Bar is audited. A probe of a host named "silent" is never answered, one of
"lethal" kills it; others are answered with the slot and the task.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys

from usp.diagnosis import Diagnosis, Hop, HopName
from usp.secret import REVEAL
from usp.server import ipc
from usp.server.messages import (
    Authenticated,
    Bar,
    CloseLinks,
    Commit,
    Drain,
    Events,
    Kill,
    LinkChanged,
    LoginFailed,
    MayTry,
    Metrics,
    Partner,
    Poll,
    Prepare,
    Prepared,
    Probe,
    Probed,
    Ready,
    Result,
    SessionEnded,
    Sessions,
    Start,
    TargetHealth,
    ToWorker,
    Tried,
    TunnelSocket,
    Verdict,
)
from usp.snapshot import Snapshot
from usp.status import Complaint, LinkState, Outcome, SessionStatus


class StandIn:
    def __init__(self, channel: ipc.Channel[ToWorker]) -> None:
        self.channel = channel
        self.slot = 0
        self.version = 0
        self.sessions: dict[str, asyncio.Task[None]] = {}
        self.attempts: list[asyncio.StreamWriter] = []
        self.links: dict[str, tuple[str, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        while (received := await self.channel.receive()) is not None:
            message, fds = received
            if isinstance(message, Drain):
                await self.drain(message.seconds)
                return
            self.hear(message, fds)
        await self.drain(1.0)

    def hear(self, message: ToWorker, fds: tuple[int, ...]) -> None:
        match message:
            case Start(slot=slot):
                self.slot = slot
                self.channel.post(Ready(pid=os.getpid()))
                self.channel.post(Metrics(samples=(("usp_sessions_total", ("one", "completed"), 1.0),)))
            case Prepare():
                self.prepare(message.version, fds[0])
            case Commit(version=version):
                self.version = version
            case Partner():
                self.sessions[message.session] = asyncio.ensure_future(self.partner(message, fds[0]))
            case TunnelSocket():
                self.links[message.link] = message.tunnel, asyncio.ensure_future(self.link(message, fds[0]))
            case CloseLinks(tunnel=tunnel):
                for of, task in self.links.values():
                    if of == tunnel:
                        task.cancel()
            case Kill(session=session):
                self.sessions[session].cancel()
            case Bar(username=username, seconds=seconds):
                self.channel.post(
                    Events(lines=(f'{{"event":"barred","username":"{username}","on":{int(seconds > 0)}}}',))
                )
            case Verdict(attempt=attempt, granted=granted):
                self.attempts[attempt].write(b"granted\n" if granted else b"denied\n")
            case Probe():
                self.probe(message)
            case Poll(request=request):
                for session in self.sessions:
                    status = SessionStatus(id=session, listener="", node="", peer="", slot=self.slot, since=1.0)
                    self.channel.post(Sessions(request=request, sessions=(status,), last=False))
                self.channel.post(Sessions(request=request))

    def probe(self, message: Probe) -> None:
        if message.task.host == "lethal":
            os._exit(7)
        if message.task.host != "silent":
            told = message.task.model_dump_json(context=REVEAL)
            hop = Hop(name=HopName.CONNECT, ok=True, ms=1.0, detail=f"{self.slot} {told}")
            self.channel.post(Probed(request=message.request, diagnosis=Diagnosis(ok=True, hops=(hop,))))

    def prepare(self, version: int, fd: int) -> None:
        snapshot = Snapshot.model_validate_json(ipc.from_memfd(fd))
        os.close(fd)
        names = {listener.name for listener in snapshot.content.listeners}
        if "lethal" in names:
            os._exit(7)
        poison = Complaint(loc=("listeners", 0, "nodes", 0, "host_keys", 0), msg="is poison")
        self.channel.post(Prepared(version=version, problems=(poison,) if "poison" in names else ()))

    async def partner(self, message: Partner, fd: int) -> None:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
        try:
            writer.write(f"{self.slot} {message.version} {message.node}\n".encode())
            assert message.version == self.version
            while line := await reader.readline():
                self.told(message.session, writer, *line.decode().split())
        finally:
            writer.close()
            self.sessions.pop(message.session)
            self.channel.post(Events(lines=('{"event":"session.ended"}',)))
            self.channel.post(SessionEnded(session=message.session, outcome=Outcome.COMPLETED))

    def told(self, session: str, writer: asyncio.StreamWriter, what: str, username: str) -> None:
        if what == "wrong":
            self.channel.post(LoginFailed(session=session, username=username))
        elif what == "try":
            attempt = len(self.attempts)
            self.attempts.append(writer)
            self.channel.post(MayTry(session=session, attempt=attempt, target="target", username=username))
        elif what in list(Result):
            attempt = max(at for at, each in enumerate(self.attempts) if each is writer)
            self.channel.post(Tried(session=session, attempt=attempt, result=Result(what)))
        elif what == "down":
            self.channel.post(TargetHealth(down=(username,)))
        else:
            self.channel.post(Authenticated(session=session, username=username))

    async def link(self, message: TunnelSocket, fd: int) -> None:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
        try:
            client = (await reader.readline()).decode().strip()
            self.tell(message, LinkState.UP, client)
            writer.write(f"{self.slot}\n".encode())
            await reader.read()
        finally:
            writer.close()
            self.links.pop(message.link)
            self.tell(message, LinkState.DOWN)

    def tell(self, message: TunnelSocket, state: LinkState, client: str = "") -> None:
        self.channel.post(LinkChanged(link=message.link, tunnel=message.tunnel, state=state, client=client))

    async def drain(self, seconds: float) -> None:
        if self.sessions:
            await asyncio.wait(list(self.sessions.values()), timeout=seconds)


async def main(fd: int) -> None:
    channel = ipc.worker_end(socket.socket(fileno=fd))
    await StandIn(channel).run()
    channel.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    asyncio.run(main(parser.parse_args().fd))
    sys.stdout.flush()
    os._exit(0)
