from __future__ import annotations

import pytest

from tests.unit.server.support import listener, snapshot
from usp.server.verdict import accepted, judge, rejected
from usp.snapshot import PROTOCOL, Snapshot
from usp.status import Ack, AckResult, Complaint

TWO = snapshot(2, listener("one", 1))


@pytest.mark.parametrize(
    ("offered", "code", "loc"),
    [
        (snapshot(3, server="other"), "push.wrong_server", "server"),
        (snapshot(3).model_copy(update={"protocol": PROTOCOL + 1}), "push.rejected", "protocol"),
        (snapshot(3).model_copy(update={"protocol": PROTOCOL - 2}), "push.rejected", "protocol"),
        (snapshot(3).model_copy(update={"digest": "0" * 64}), "push.rejected", "digest"),
        (snapshot(1, listener("one", 1)), "push.older", "version"),
        (snapshot(2), "push.older", "version"),
    ],
)
def test_what_is_refused_untried(offered: Snapshot, code: str, loc: str) -> None:
    ack = judge("server", TWO, offered)
    assert ack is not None
    assert (ack.result, ack.code, ack.version, ack.digest) == (AckResult.REJECTED, code, 2, TWO.digest)
    assert ack.message
    assert ack.problems[0].loc == (loc,)


@pytest.mark.parametrize("protocol", [PROTOCOL, PROTOCOL - 1])
def test_what_is_tried(protocol: int) -> None:
    newer = snapshot(3).model_copy(update={"protocol": protocol})
    assert judge("server", TWO, newer) is None
    assert judge("server", None, newer) is None


def test_what_is_there_already() -> None:
    assert judge("server", TWO, TWO) == Ack(result=AckResult.ALREADY, version=2, digest=TWO.digest)
    assert accepted(TWO) == Ack(result=AckResult.APPLIED, version=2, digest=TWO.digest)


def test_a_server_without_a_version_says_so() -> None:
    ack = rejected(None, "push.rejected", [Complaint(loc=("x",), msg="is poison")])
    assert (ack.version, ack.digest, ack.problems[0].msg) == (0, "", "is poison")
