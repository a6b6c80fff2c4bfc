"""The stream of events of a real manager: it goes on where it broke, and does not hold up the manager's end."""

from __future__ import annotations

import signal
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place, serving

pytestmark = pytest.mark.once


@contextmanager
def listening(place: Place, token: str, last: int | None = None) -> Iterator[Any]:
    headers = {"Authorization": f"Bearer {token}"} | ({} if last is None else {"Last-Event-ID": str(last)})
    request = urllib.request.Request(f"https://127.0.0.1:{place.port}/api/v1/events/stream", headers=headers)
    context = ssl.create_default_context(cafile=str(place.folder / "ca"))
    with urllib.request.urlopen(request, context=context, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response


def ids(stream: Any) -> Iterator[int]:
    for line in stream:
        if line.startswith(b"id: "):
            yield int(line.removeprefix(b"id: "))


def test_it_goes_on_where_it_broke_and_ends_with_the_manager(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.run("db", "upgrade").exit_code == 0
    place.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    token = place.run("token", "add", "test", "--user", "admin").stdout.strip()
    with serving(place) as process:
        with listening(place, token, last=0) as stream:
            first = next(ids(stream))
        with listening(place, token) as live, listening(place, token, last=first) as resumed:
            assert live.readline().startswith(b": ")
            place.run("token", "add", "another", "--user", "admin")  # by another process: it comes through the store
            newest = next(ids(live))
            assert next(ids(resumed)) == first + 1 <= newest
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert live.read() is not None, "the stream ends in an orderly way"
            process.communicate(timeout=10)
            assert time.monotonic() - began < 5
            assert process.returncode == 0
