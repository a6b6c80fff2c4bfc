"""Documents and forms, there and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from usp.algorithms import KNOWN, Algorithms, Profile
from usp.errors import Problem
from usp.manager.ui.fields import Widget, fields_of
from usp.manager.ui.forms import Sent, document_of, entries, sent_by, unkept, unplaced
from usp.model import KINDS, Account, Item, Listener, OutboundNode, PrivateKey, PublicKey, Rule
from usp.policy import Policy
from usp.secret import Secret

WORD = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
LINE = st.text(st.characters(exclude_categories=["C"], include_characters=" "), max_size=20)
TEXT = st.lists(LINE, max_size=3).map("\n".join)


def values(kind: type[Item]) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of a kind; those that its rules refuse are thrown away by the test."""
    return _document(fields_of(kind))


def _document(fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({each.name: _value(each) for each in fields})


def _value(field: Any) -> st.SearchStrategy[Any]:
    found = _plain(field)
    if field.optional:
        found = st.none() | found
    return found if field.required else st.just(field.default) | found


def _plain(field: Any) -> st.SearchStrategy[Any]:
    least = field.limits.get("min_length", 0)
    match field.widget:
        case Widget.TEXT:
            return {
                "address": st.sampled_from(["0.0.0.0", "::", "192.0.2.7"]),
                "path": st.sampled_from(["/in/**", "~/out/*.csv", "/ a"]),
            }.get(field.name, WORD)
        case Widget.AREA:
            return TEXT if least == 0 and not field.required else TEXT.map(lambda text: "x" + text)
        case Widget.NUMBER:
            return st.integers(field.limits.get("ge", 0), field.limits.get("le", 99))
        case Widget.CHECK:
            return st.booleans()
        case Widget.SELECT:
            return st.sampled_from(field.choices)
        case Widget.CHECKS:
            return st.lists(st.sampled_from(field.choices), unique=True, max_size=14)
        case Widget.LINES:
            entry = st.sampled_from(field.choices or ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"])
            return st.lists(entry, max_size=4)
        case Widget.PICK:
            return WORD
        case Widget.PICKS:
            return st.lists(WORD, min_size=least, max_size=3)
        case Widget.BLOCK:
            return _document(field.fields)
        case Widget.BLOCKS:
            return st.lists(_document(field.fields), max_size=3)
        case _:
            return st.none()


def there_and_back(kind: type[Item], document: dict[str, Any]) -> dict[str, Any]:
    return document_of(fields_of(kind), sent_by(entries(fields_of(kind), document)))


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.kind)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_form_that_nobody_touches_changes_nothing(kind: type[Item], data: st.DataObject) -> None:
    document = data.draw(values(kind))
    again = there_and_back(kind, document)
    defaults = {each.name: each.default for each in fields_of(kind)}
    assert {**defaults, **again} == document
    assert unkept(fields_of(kind), document) == ()


def test_items_themselves_there_and_back() -> None:
    """The same with items that the models took."""
    policy = Policy.model_validate_json(
        '{"preset": "upload_only", "allow": ["list", "read"], "deny": ["mkdir"], "forbidden_names": ["*.exe", "*.bat"],'
        '"paths": [{"path": "/in/**", "access": "deny", "classes": ["write", "read"]}], "max_file_size": 5}'
    )
    account = Account(name="a", account_repository="r", username="u", public_keys=("k", "j"), policy=policy)
    listener = Listener(name="l", port=22, route="r", default_outbound_node="o", description="two\nlines ")
    algorithms = Algorithms(profile=Profile.LEGACY, kex=KNOWN["kex"][:2])
    node = OutboundNode(name="o", host="h", host_keys=("k",), algorithms=algorithms)
    for item in (account, listener, node):
        again = there_and_back(type(item), item.model_dump(mode="json"))
        assert type(item).model_validate(again, strict=False) == item


def sent(**fields: str | list[str]) -> Sent:
    """Values by name, where `__` stands for a point."""
    return {name.replace("__", "."): value if isinstance(value, list) else [value] for name, value in fields.items()}


def test_what_is_not_sent_is_not_in_the_document() -> None:
    found = document_of(fields_of(Listener), sent(name="l", port="22"))
    assert found == {"name": "l", "port": 22}


def test_required_fields_that_are_empty_are_left_out() -> None:
    found = document_of(fields_of(Listener), sent(name="", port=" ", route="", description="", address=""))
    assert found == {"route": None, "description": "", "address": ""}


def test_numbers_that_are_none_go_to_the_model_as_they_are() -> None:
    for text, value in (
        ("22", 22),
        ("-1", -1),
        ("x", "x"),
        ("1e3", "1e3"),
        ("9" * 30, "9" * 30),
        ("٣", "٣"),
        ("-", "-"),
    ):
        assert document_of(fields_of(Listener), sent(port=text)) == {"port": value}


def test_boxes() -> None:
    assert document_of(fields_of(Listener), sent(withhold_banner=["", "on"])) == {"withhold_banner": True}
    assert document_of(fields_of(Listener), sent(withhold_banner="")) == {"withhold_banner": False}


def test_secrets_stay_are_replaced_or_removed() -> None:
    rule = fields_of(Rule)
    assert document_of(rule, sent(password="")) == {"password": None}
    assert document_of(rule, sent(password=" new ")) == {"password": " new "}
    assert document_of(rule, {"password": ["new"], "password.remove": ["on"]}) == {"password": ""}
    assert document_of(fields_of(PrivateKey), sent(private_key="a\r\nb")) == {"private_key": "a\nb"}


def test_no_secret_is_ever_in_a_form() -> None:
    rule = Rule.model_validate(
        {
            "name": "r",
            "inbound_method": "password",
            "inbound_source": "none",
            "outbound_credentials": "dedicated",
            "password": Secret("hidden"),
        },
        strict=False,
    )
    shown = entries(fields_of(Rule), rule.model_dump(mode="json"))
    assert "hidden" not in str(sent_by(shown))


def test_rows() -> None:
    node = fields_of(OutboundNode)
    found = document_of(
        node,
        {
            "alternates.10.host": ["b"],
            "alternates.10.port": ["23"],
            "alternates.2.host": ["a"],
            "alternates.3.host": [""],
            "alternates.3.port": ["22"],
            "alternates.NEW.host": ["never"],
            "alternates.-1.host": ["never"],
        },
    )
    assert found["alternates"] == [{"host": "a"}, {"host": "b", "port": 23}]


def test_rows_without_a_text_that_is_needed_are_kept() -> None:
    alternates = next(each for each in fields_of(OutboundNode) if each.name == "alternates")
    weights = replace(alternates, fields=tuple(each for each in alternates.fields if each.name == "weight"))
    assert document_of([weights], {"alternates.0.weight": ["3"]}) == {"alternates": [{"weight": 3}]}


def test_a_block_that_may_be_none_has_a_box() -> None:
    account = fields_of(Account)
    assert "policy" not in document_of(account, {"policy": [""], "policy.preset": ["full"]})
    found = document_of(account, {"policy": ["", "on"], "policy.preset": ["download_only"]})
    assert found["policy"] == {"preset": "download_only", "paths": [], "windows": []}


def test_findings_come_to_the_fields() -> None:
    document = {"name": "o", "host": "h", "alternates": [{"host": "a"}, {"host": "a"}]}
    problems = [
        Problem(("name",), "is taken"),
        Problem(("host_keys", 1), "is there twice"),
        Problem(("alternates", 1), "is there already"),
        Problem(("alternates", 0, "weight"), "goes with distribution 'weighted' only"),
        Problem(("algorithms",), "old"),
        Problem(("algorithms", "kex", 0), "is no SSH algorithm"),
        Problem(("elsewhere", "x"), "is wrong"),
        Problem((), "and so on"),
    ]
    shown = {each.name: each for each in entries(fields_of(OutboundNode), document, problems)}
    assert shown["name"].messages == ("is taken",)
    assert shown["host_keys"].messages == ("2: is there twice",)
    assert shown["alternates"].messages == ("2: is there already",)
    weight = next(each for each in shown["alternates"].rows[0] if each.field.name == "weight")
    assert weight.messages == ("goes with distribution 'weighted' only",)
    assert (weight.name, weight.id) == ("alternates.0.weight", "field-alternates-0-weight")
    assert shown["algorithms"].messages == ("old",)
    kex = next(each for each in shown["algorithms"].within if each.field.name == "kex")
    assert kex.messages == ("1: is no SSH algorithm",)
    assert unplaced(tuple(shown.values()), problems) == ("elsewhere.x: is wrong", "and so on")


def test_a_row_to_be_filled_in() -> None:
    alternates = next(each for each in entries(fields_of(OutboundNode), {}) if each.name == "alternates")
    assert [each.name for each in alternates.blank] == [
        "alternates.NEW.host",
        "alternates.NEW.port",
        "alternates.NEW.weight",
    ]


def test_what_a_form_cannot_keep_is_told() -> None:
    rule = {"name": "r", "policy": {**Policy().model_dump(mode="json"), "forbidden_names": ["a\nb"]}}
    assert unkept(fields_of(Rule), rule) == ("Policy",)
    assert unkept(fields_of(PublicKey), {"name": "k", "public_key": "ssh-ed25519 AAAA\n"}) == ()


def test_what_the_models_say_of_a_form_that_is_nonsense() -> None:
    found = document_of(fields_of(OutboundNode), sent(port="x", host="a b"))
    with pytest.raises(ValidationError):
        OutboundNode.model_validate(found)
