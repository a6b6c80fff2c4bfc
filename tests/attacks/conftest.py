"""One gateway for all attacks of a file: a target, and sessions towards it on a loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.server.gateway import HASHER, OTHER_LINE, PASSWORD, USER, Gateway, Target, limits, rule, serving
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.secret import Secret
from usp.snapshot import AccountSpec, CredentialsSpec

LOGIN_SECONDS = 4.0
ACCOUNT = AccountSpec(username=USER, password=Secret(HASHER.hash(PASSWORD)), public_keys=(OTHER_LINE,))
RULE = rule(
    InboundMethod.PASSWORD_OR_PUBLIC_KEY,
    InboundSource.ACCOUNT_REPOSITORY,
    OutboundCredentials.DEDICATED,
    CredentialsSpec(username=USER, password=Secret(PASSWORD)),
)
"""All methods are offered."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    target = Target(tmp_path_factory.mktemp("target"))
    await target.start()
    try:
        async with serving(target.port, limits(login=LOGIN_SECONDS), of=RULE, accounts=(ACCOUNT,)) as gateway:
            yield gateway
    finally:
        await target.stop()
