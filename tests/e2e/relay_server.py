"""An SFTP server for `sftp -D`: OpenSSH's own, behind a Relay. The records go to the file named in argv[2]."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Iterable

from usp.sftp.relay import Relay
from usp.sftp.steps import Step
from usp.sftp.wire import Bytes


def write(fd: int, chunks: Iterable[Bytes]) -> None:
    data = memoryview(b"".join(chunks))
    while data:
        data = data[os.write(fd, data) :]


def main(server: str, records: str) -> int:
    relay = Relay()
    with subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child, open(records, "w") as log:
        assert child.stdin
        assert child.stdout
        to_target, from_target = child.stdin.fileno(), child.stdout.fileno()
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(from_target, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 40_000)
                if not data:
                    child.stdin.close()
                    print(*relay.finish(), "end", sep="\n", file=log)
                    return 0
                step: Step = relay.from_inbound(data) if key.fd == 0 else relay.from_outbound(data)
                write(to_target, step.to_outbound)
                write(1, step.to_inbound)
                print(*step.records, sep="\n", end="\n" if step.records else "", file=log)
                assert step.close is None, step.close


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
