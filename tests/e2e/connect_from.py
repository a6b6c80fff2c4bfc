"""`python connect_from.py SOURCE HOST PORT`: stdin and stdout over TCP from that address, for a client that
cannot choose its own."""

from __future__ import annotations

import os
import selectors
import socket
import sys


def main(source: str, host: str, port: str) -> int:
    with socket.create_connection((host, int(port)), source_address=(source, 0)) as sock:
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(sock, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if not data:
                    return 0
                if key.fd == 0:
                    sock.sendall(data)
                else:
                    os.write(1, data)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
