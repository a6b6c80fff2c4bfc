"""Findings of pydantic, read by people."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from usp.errors import Problem
from usp.model import AccountRepository, IpFilter, Listener, Model, Route
from usp.wording import problems_of


class Odd(Model):
    multiple: Annotated[int, Field(multiple_of=5)] = 0
    code: Annotated[str, Field(pattern="^x$")] = "x"


CASES: list[tuple[type[Model], dict[str, Any], Problem]] = [
    (AccountRepository, {}, Problem(("name",), "is required")),
    (AccountRepository, {"name": "a b"}, Problem(("name",), "must be 1 to 255 letters, digits, '-' or '_'")),
    (AccountRepository, {"name": "a", "x": 1}, Problem(("x",), "there is no such field")),
    (AccountRepository, {"name": 1}, Problem(("name",), "must be a text")),
    (AccountRepository, {"name": "a", "enabled": "yes"}, Problem(("enabled",), "must be true or false")),
    (Listener, {"name": "a", "port": 0}, Problem(("port",), "must be 1 or more")),
    (Listener, {"name": "a", "port": 70000}, Problem(("port",), "must be 65535 or less")),
    (Listener, {"name": "a", "port": "22"}, Problem(("port",), "must be a whole number")),
    (Listener, {"name": "a", "port": 22, "type": "udp"}, Problem(("type",), "must be 'sftp' or 'tcp'")),
    (
        Route,
        {"name": "a", "inbound_nodes": [], "outbound_nodes": ["x"]},
        Problem(("inbound_nodes",), "must have at least 1 (it has 0)"),
    ),
    (
        IpFilter,
        {"name": "a", "block": ["192.168.1.42/24"]},
        Problem(("block", 0), "is not canonical: host bits are set; write 192.168.1.0/24 or a single address"),
    ),
    (Odd, {"code": "y"}, Problem(("code",), "is not written as it must be")),
    (Odd, {"multiple": 3}, Problem(("multiple",), "Input should be a multiple of 5")),
]


@pytest.mark.parametrize(("model", "document", "problem"), CASES, ids=str)
def test_a_finding_becomes_a_sentence(model: type[Model], document: dict[str, Any], problem: Problem) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(document))
    assert problems_of(caught.value) == [problem]
