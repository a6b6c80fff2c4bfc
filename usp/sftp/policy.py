"""The policy seam: each request that names a path, or works on one through a handle, is decided here before it passes.

READ, WRITE and CLOSE are not asked about: the OPEN that gave the handle was. For operations on a handle `request.paths`
holds the path with which it was opened. Paths are in normal form (`usp.sftp.paths`), so a prefix may be compared as it
stands; a trailing slash is no part of a name. Relative paths are relative to the target's home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from usp.sftp.ops import Status
from usp.sftp.packets import Request


@dataclass(frozen=True, slots=True)
class Allow:
    """Let it pass."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer the partner with this status; the target hears nothing of it."""

    status: Status = Status.PERMISSION_DENIED
    text: str = "Permission denied"


Decision: TypeAlias = Allow | Deny


class Policy(Protocol):
    def decide(self, request: Request, /) -> Decision:
        """Pure: the same request is always decided in the same way."""
        ...


class AllowAll:
    """The target alone decides."""

    def decide(self, request: Request, /) -> Decision:
        return Allow()
