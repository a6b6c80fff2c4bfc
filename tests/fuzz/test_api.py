"""Schemathesis against the whole API as it is documented: no server error, and no answer that is not documented.

A real uvicorn in a thread serves a configured manager. `HYPOTHESIS_PROFILE=fuzz` (make fuzz) tries much more.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig

from tests.unit.manager.site import ADMIN, CA, MANAGER, opened
from usp.manager.api import application
from usp.manager.api.examples import CERTIFICATE, ITEMS, TLS_KEY
from usp.manager.api.versions import MAX_WAIT
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.store.rows import Role
from usp.model import KINDS

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
EXAMPLES = 100 if LONG else 2
USER = "schemathesis"

CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {
            "max-examples": EXAMPLES,
            "deterministic": not LONG,
            "no-shrink": not LONG,
            "with-security-parameters": False,
        },
        "checks": {
            # A schema cannot tell all rules: what is referred to exists, which combinations are valid.
            "positive_data_acceptance": {"enabled": False},
            # If-Match is looked at before the body is.
            "negative_data_rejection": {"expected-statuses": [401, 403, 404, 405, 409, 412, 413, 422]},
            # A Proxy Server may be away.
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
        },
    }
)

WHOLE = schemathesis.openapi.from_dict(application(cast(App, None)).openapi(), config=CONFIG)
STAND_INS = {"private-keys", "tls-certificates", "accounts", "rules", "listeners", "deployments"}
"""All kinds of items are one stack: in the short form some stand for all."""
OTHERS = "|".join(sorted(KINDS.keys() - STAND_INS))
SCHEMA = WHOLE if LONG else WHOLE.exclude(path_regex=f"^/api/v1/items/({OTHERS})(/|$)")
load_all_checks()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """A manager with the documented examples in it, in a thread of its own: its URL and a token."""
    ready: list[tuple[str, str]] = []
    started, stop = threading.Event(), threading.Event()

    async def run() -> None:
        async with opened(folder, timeout=0.2) as app:
            app.ending.set()  # streams end at once
            token = await seed(app)
            config = uvicorn.Config(application(app), host="127.0.0.1", port=0, log_config=None, lifespan="off")
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            ready.append((f"http://127.0.0.1:{port}", token))
            started.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await task

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(20)
        yield ready[0]
    finally:
        stop.set()
        thread.join()


async def seed(app: App) -> str:
    real = {"ca-certificates": CA, "tls-certificates": MANAGER}
    changes = []
    for kind, example in ITEMS.items():
        fields = dict(example)
        for name, value in example.items():
            if value == CERTIFICATE:
                fields[name] = real[kind].cert
            elif value == TLS_KEY:
                fields[name] = real[kind].key
        if kind == "proxy-servers":
            fields |= {"host": "127.0.0.1", "port": 1}
        changes.append(Create(kind, fields, (kind,)))
    await app.write(ADMIN, changes)
    await app.pushes.push(ADMIN, "usp-server")
    user = await app.administrators.add(USER, Role.ADMIN, None, author="test")
    _, token = await app.administrators.add_token("test", user, author="test")
    return token


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, requests.Session]]:
    with serving(tmp_path_factory.mktemp("manager")) as (url, token), requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield url, session


def _is_long(wait: object) -> bool:
    """Whether that many seconds would really be waited."""
    try:
        return 0.01 < float(str(wait)) <= MAX_WAIT
    except ValueError:
        return False


@pytest.mark.filterwarnings("default")
@SCHEMA.parametrize()
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=EXAMPLES)
def test_it_does_what_the_document_says(case: Any, manager: tuple[str, requests.Session]) -> None:
    url, session = manager
    if case.query and _is_long(case.query.get("wait")):
        case.query["wait"] = 0.01
    response = case.call(base_url=url, session=session, timeout=20)
    case.validate_response(response)
    assert response.status_code != 401 or "/login" in case.path, "the token still works"
