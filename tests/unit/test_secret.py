"""A secret shows itself to nobody by accident."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from usp.model import Model
from usp.secret import REDACTED, REVEAL, Secret


class Holder(Model):
    word: Secret
    other: Secret | None = None


def test_it_never_shows() -> None:
    secret = Secret("hunter2")
    holder = Holder(word=secret)
    shown = [repr(secret), str(secret), f"{secret:>20}", repr(holder), holder.model_dump_json(), str([secret])]
    assert "hunter2" not in "".join(shown)
    assert str(secret) == f"{secret}" == REDACTED
    assert holder.model_dump() == {"word": REDACTED, "other": None}
    assert holder.model_dump(context={"reveal": False})["word"] == REDACTED
    assert holder.model_dump(context="reveal")["word"] == REDACTED


def test_it_comes_out_when_asked_for() -> None:
    holder = Holder(word=Secret("hunter2"))
    assert holder.word.reveal() == "hunter2"
    text = holder.model_dump_json(context=REVEAL)
    assert Holder.model_validate_json(text) == holder


def test_equality_is_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != "a"


def test_it_is_made_from_text_or_a_secret() -> None:
    assert Holder.model_validate({"word": "x"}).word == Holder(word=Secret("x")).word
    for wrong in ("", 5, None, b"x"):
        with pytest.raises(ValidationError) as caught:
            Holder.model_validate({"word": wrong})
        assert "input_value" not in str(caught.value)


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))


def test_its_schema_is_a_write_only_password() -> None:
    schema = Holder.model_json_schema()["properties"]["word"]
    assert (schema["type"], schema["format"], schema["writeOnly"]) == ("string", "password", True)
