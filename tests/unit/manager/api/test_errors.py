"""Failures as problem documents."""

from __future__ import annotations

import json

import pytest

from tests.unit.manager.api.calls import Api, refused
from usp.errors import Kind, Problem, UspError
from usp.manager.api.errors import SCHEMAS, STATUS, answer
from usp.manager.app import App


def test_every_kind_of_failure_has_a_status_of_its_own() -> None:
    assert STATUS.keys() == set(Kind)
    assert len(set(STATUS.values())) == len(Kind)


def test_a_problem_document() -> None:
    error = UspError("item.invalid", "no good", problems=[Problem(("a", 0), "is wrong", "FILE:1:2")], secret="s")
    response = answer(error)
    assert (response.status_code, response.media_type) == (422, "application/problem+json")
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "no good",
        "code": "item.invalid",
        "errors": [{"loc": ["a", 0], "msg": "is wrong"}],
    }
    assert SCHEMAS["Problem"]["required"] == list(json.loads(bytes(response.body)))


async def test_what_the_framework_refuses_looks_alike(admin: Api) -> None:
    refused(await admin("GET", "/nowhere"), 404, "request.unknown")
    response = await admin("DELETE", "/servers")
    refused(response, 405, "request.invalid")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    problems = refused(await admin("POST", "/login", {"username": 7, "more": 1}), 422, "request.invalid")
    assert problems == [
        (("username",), "must be a text"),
        (("password",), "is required"),
        (("more",), "there is no such field"),
    ]
    problems = refused(
        await admin("POST", "/login", content=b"{", headers={"Content-Type": "application/json"}),
        422,
        "request.invalid",
    )
    assert problems[0][1].startswith("is not JSON")


async def test_inputs_are_not_repeated(admin: Api) -> None:
    response = await admin("POST", "/login", {"username": "u", "password": ["hush-hush"]})
    assert refused(response, 422, "request.invalid")
    assert "hush" not in response.text


async def test_bugs_are_logged_and_not_told(
    app: App, admin: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def buggy() -> None:
        raise KeyError("hush-hush")

    monkeypatch.setattr(app, "servers", buggy)
    response = await admin("GET", "/servers")
    assert refused(response, 500, "internal") == []
    assert "hush" not in response.text
    assert "KeyError" in capsys.readouterr().err


async def test_a_database_that_is_away(app: App, admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise UspError("database.unavailable")

    monkeypatch.setattr(app, "servers", away)
    response = await admin("GET", "/servers")
    refused(response, 503, "database.unavailable")
    assert int(response.headers["retry-after"]) > 0
