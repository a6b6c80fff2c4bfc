"""What becomes of a configuration version that a server is offered, as far as it needs no trial. Pure.

Versions only grow: whatever managers do, and however late a message of theirs arrives, a server never goes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from usp.errors import CODES
from usp.hello import agree
from usp.snapshot import PROTOCOL, Snapshot
from usp.status import Ack, AckResult, Complaint


def judge(server: str, in_force: Snapshot | None, offered: Snapshot) -> Ack | None:
    """The answer to a version that is refused, or in force already; None: try it."""
    if offered.server != server:
        reason = f"the snapshot is meant for '{offered.server}', this is '{server}'"
        return rejected(in_force, "push.wrong_server", [Complaint(loc=("server",), msg=reason)])
    if offered.protocol > PROTOCOL or agree(PROTOCOL, offered.protocol) is None:
        reason = f"is {offered.protocol}; this server speaks {PROTOCOL} and the one before"
        return rejected(in_force, "push.rejected", [Complaint(loc=("protocol",), msg=reason)])
    if offered.digest != offered.content.digest:
        return rejected(in_force, "push.rejected", [Complaint(loc=("digest",), msg="is not that of the content")])
    if in_force is None or offered.version > in_force.version:
        return None
    if offered.version == in_force.version and offered.digest == in_force.digest:
        return accepted(in_force, AckResult.ALREADY)
    reason = f"version {in_force.version} is in force; this is version {offered.version}"
    return rejected(in_force, "push.older", [Complaint(loc=("version",), msg=reason)])


def accepted(in_force: Snapshot, result: AckResult = AckResult.APPLIED) -> Ack:
    return Ack(result=result, version=in_force.version, digest=in_force.digest)


def rejected(in_force: Snapshot | None, code: str, problems: Sequence[Complaint]) -> Ack:
    version, digest = (in_force.version, in_force.digest) if in_force else (0, "")
    return Ack(
        result=AckResult.REJECTED,
        version=version,
        digest=digest,
        code=code,
        message=CODES[code].meaning,
        problems=tuple(problems),
    )
