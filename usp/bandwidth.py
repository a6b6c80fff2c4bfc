"""Bandwidth, as an administrator limits it: bytes per second that the sessions of an Account, Rule or Listener share.

Each limit holds for itself: a session has no more than the least of those that are about it. docs/bandwidth.md tells
all of it, `usp.server.bucket` is how it is kept.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[int, Field(ge=10_000, le=10**12)]


class Bandwidth(BaseModel):
    """Bytes per second on each server, for all sessions together."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    upload: Rate | None = Field(default=None, description="Bytes per second from partners")
    download: Rate | None = Field(default=None, description="Bytes per second to partners")
