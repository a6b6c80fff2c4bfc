"""A small HTTPS server that answers what a test wants and notes what it was asked. (The real manager: tests/e2e.)"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from usp import pki

NOW = datetime.now(UTC)
CA = pki.new_ca("ca", now=NOW)
OTHER_CA = pki.new_ca("other", now=NOW)
MANAGER = pki.issue(CA, now=NOW, ips=["127.0.0.1"])
TOKEN = "usp_token"
OPEN = ("/login", "/stream-of-others")


@dataclass
class StandIn:
    """`answers`: "METHOD path" -> (status, what is answered: JSON, or bytes as they are)."""

    url: str = ""
    ca: str = ""
    other_ca: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    bearers: list[str | None] = field(default_factory=list)

    def env(self, **changes: str) -> dict[str, str]:
        return {"USP_URL": self.url, "USP_CA": self.ca, "USP_TOKEN": TOKEN, **changes}


@contextmanager
def stand_in(folder: Path) -> Iterator[StandIn]:
    found = StandIn()
    for name, text in (("cert", MANAGER.cert), ("key", MANAGER.key), ("ca", CA.cert), ("other", OTHER_CA.cert)):
        (folder / name).write_text(text)
    found.ca, found.other_ca = str(folder / "ca"), str(folder / "other")

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            found.bearers.append(self.headers["Authorization"])
            assert found.bearers[-1] == f"Bearer {TOKEN}" or self.path.endswith(OPEN)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = f"{self.command} {self.path.removeprefix('/api/v1')}"
            found.asked.append((asked, json.loads(body) if body else None))
            status, answer = found.answers.get(asked, (404, {"code": "request.unknown", "detail": asked}))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815  (http.server's names)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Handshakes that a client refuses are what tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
