"""What the models say of the fields of their forms."""

from __future__ import annotations

import pydantic
import pytest

from usp import model
from usp.manager.entry import NewCertificate
from usp.manager.ui.fields import SHOWN, Field, Widget, fields_of, label_of, word_of
from usp.model import KINDS, Account, IpFilter, Item, Listener, OutboundNode, PrivateKey, Rule


def field(of: type[Item], *names: str) -> Field:
    fields = fields_of(of)
    for name in names:
        found = next(each for each in fields if each.name == name)
        fields = found.fields
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.kind)
def test_every_field_is_in_the_form_in_the_order_of_the_model(kind: type[Item]) -> None:
    assert [each.name for each in fields_of(kind)] == list(kind.model_fields)
    assert all(each.label for each in fields_of(kind))


def test_a_new_field_is_in_its_form_by_itself() -> None:
    class Wider(IpFilter):
        kind = "wider-filters"
        colour: str = pydantic.Field(default="red", max_length=20, description="Of the page")

    try:
        assert fields_of(Wider)[-1] == Field(
            "colour", Widget.TEXT, "Colour", "Of the page", default="red", limits={"max_length": 20}
        )
    finally:
        model._KINDS.pop("wider-filters")


@pytest.mark.parametrize(
    ("of", "names", "widget"),
    [
        (Rule, ("name",), Widget.TEXT),
        (Rule, ("description",), Widget.AREA),
        (Rule, ("enabled",), Widget.CHECK),
        (Rule, ("inbound_method",), Widget.SELECT),
        (Rule, ("password",), Widget.SECRET),
        (Rule, ("private_key",), Widget.PICK),
        (Rule, ("policy",), Widget.BLOCK),
        (Rule, ("policy", "allow"), Widget.CHECKS),
        (Rule, ("policy", "forbidden_names"), Widget.LINES),
        (Rule, ("policy", "max_file_size"), Widget.NUMBER),
        (Rule, ("policy", "paths"), Widget.BLOCKS),
        (Account, ("public_keys",), Widget.PICKS),
        (OutboundNode, ("host",), Widget.TEXT),
        (OutboundNode, ("port",), Widget.NUMBER),
        (OutboundNode, ("algorithms", "kex"), Widget.LINES),
    ],
)
def test_widgets(of: type[Item], names: tuple[str, ...], widget: Widget) -> None:
    assert field(of, *names).widget is widget


def test_what_else_is_known_of_a_field() -> None:
    method = field(Rule, "inbound_method")
    assert (method.required, method.optional, method.choices[0]) == (True, False, "password")
    assert field(Rule, "private_key") == Field(
        "private_key",
        Widget.PICK,
        "Private key",
        "Dedicated credentials",
        optional=True,
        kind="private-keys",
        shown=("outbound_credentials", ("dedicated",)),
    )
    assert field(Account, "policy").optional
    assert not field(Rule, "policy").optional
    assert field(Rule, "policy").default["preset"] == "full"
    assert dict(field(OutboundNode, "port").limits) == {"ge": 1, "le": 65535}
    assert field(OutboundNode, "port").default == 22
    assert "aes128-ctr" in field(OutboundNode, "algorithms", "ciphers").choices
    assert field(IpFilter, "allow").choices == ()
    assert field(OutboundNode, "host").help.startswith("The target")
    assert field(Listener, "target_host").help.startswith("tcp")
    assert field(OutboundNode, "alternates", "host").help == "Host name or IP address"
    assert field(PrivateKey, "private_key").multiline
    assert not field(Rule, "password").multiline
    assert [each.widget for each in fields_of(NewCertificate)] == [
        Widget.PICK,
        Widget.TEXT,
        Widget.LINES,
        Widget.LINES,
        Widget.NUMBER,
    ]


def test_what_may_be_hidden_names_fields_and_words_that_there_are() -> None:
    models = {each.__name__: each for each in KINDS.values()}
    for name, rules in SHOWN.items():
        known = {each.name: each for each in fields_of(models[name])}
        for hidden, (by, values) in rules.items():
            assert hidden in known
            assert set(values) <= set(known[by].choices or ("on",)), (name, by)


def test_words() -> None:
    assert label_of("account_repository") == "Account repository"
    assert label_of("ip_filter") == "IP filter"
    assert label_of("macs") == "MACs"
    assert label_of("send_proxy_v2") == "Send proxy v2"
    assert word_of("password_or_public_key") == "password or public key"
    assert word_of("aes128-ctr") == "aes128-ctr"
