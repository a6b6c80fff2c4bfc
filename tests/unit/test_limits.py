from __future__ import annotations

import pytest
from pydantic import ValidationError

from usp.limits import Limits


def test_the_longest_penalty_is_no_shorter_than_the_first() -> None:
    assert not list(Limits().problems())
    (problem,) = Limits(first_penalty=10, longest_penalty=9).problems()
    assert problem.loc == ("longest_penalty",)


def test_exempt_sources_are_networks() -> None:
    assert Limits(exempt=("192.0.2.0/24",)).exempt == ("192.0.2.0/24",)
    with pytest.raises(ValidationError):
        Limits(exempt=("balancer",))
