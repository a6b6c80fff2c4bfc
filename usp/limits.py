"""The `limits` block of usp-server.hcl: how much strangers may ask of a server, and what failures cost them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from usp.errors import Problem
from usp.model import Cidr, Model

Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Limits(Model):
    """A count of 0 means no limit. A source is an IPv4 address or an IPv6 /64."""

    connections_per_source: Count = Field(default=100, description="connections at once from one source; 0 = no limit")
    connections_per_listener: Count = Field(default=0, description="connections at once per listener; 0 = no limit")
    unauthenticated: Count = Field(default=200, description="connections at once that are not logged in; 0 = no limit")
    unauthenticated_per_source: Count = Field(default=50, description="the same from one source; 0 = no limit")
    sessions_per_account: Count = Field(default=0, description="sessions at once per user name; 0 = no limit")
    failures: Count = Field(default=5, description="failed logins before a penalty; 0 = no penalties")
    first_penalty: Seconds = Field(default=10.0, description="seconds of the first penalty; each failure doubles it")
    longest_penalty: Seconds = Field(default=900.0, description="seconds of a penalty at most")
    forgive: Seconds = Field(default=60.0, description="seconds until one failure is forgotten")
    target_failures: Count = Field(
        default=2, description="failed logins that a target sees before strangers are denied unasked; 0 = no limit"
    )
    target_forgive: Seconds = Field(default=6.0, description="seconds until one of a target's failures is forgotten")
    exempt: tuple[Cidr, ...] = Field(
        default=(), description='sources without limits and penalties, such as ["192.0.2.7/32"]; [] = none'
    )

    def problems(self) -> Iterator[Problem]:
        if self.longest_penalty < self.first_penalty:
            yield Problem(("longest_penalty",), "is smaller than first_penalty")
