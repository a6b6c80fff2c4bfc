from __future__ import annotations

from usp.sftp.ops import OPS, Status
from usp.sftp.packets import Request
from usp.sftp.policy import Allow, AllowAll, Deny, Policy


def test_allow_all_is_a_policy_and_allows() -> None:
    policy: Policy = AllowAll()
    assert policy.decide(Request(OPS[13], 1, (b"/a",), (b"/a",))) == Allow()


def test_a_denial_tells_the_partner_little() -> None:
    assert (Deny().status, Deny().text) == (Status.PERMISSION_DENIED, "Permission denied")
