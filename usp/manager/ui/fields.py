"""What a form has for each field of a model: found by walking the model's annotations, so that a new field of an item
is in its form by itself.

Rules over values stay where they are, in the models and the catalog. The one table here, `SHOWN`, only says which
fields a form may hide because another field makes them meaningless.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from usp.manager.kinds import MADE
from usp.model import HOST_PATTERN, NAME_PATTERN, USERNAME_PATTERN, Ref
from usp.secret import Secret


class Widget(StrEnum):
    """How a field is asked for."""

    TEXT = "text"  # one line
    AREA = "area"  # several lines
    NUMBER = "number"
    CHECK = "check"  # yes or no
    SELECT = "select"  # one of a few words
    CHECKS = "checks"  # any of a few words
    LINES = "lines"  # texts, one a line
    PICK = "pick"  # one item
    PICKS = "picks"  # several items
    SECRET = "secret"  # noqa: S105  (a widget)
    BLOCK = "block"  # fields within
    BLOCKS = "blocks"  # rows of fields


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `optional`: it may be none at all. `kind`: of the items to pick. `fields`: those of a block or row."""

    name: str
    widget: Widget
    label: str
    help: str = ""
    required: bool = False
    optional: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    kind: str = ""
    fields: tuple[Field, ...] = ()
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    multiline: bool = False  # a secret that is a file
    shown: tuple[str, tuple[str, ...]] | None = None  # only while that field says one of these


ACRONYMS: Final = frozenset({"ip", "ca", "tls", "ssh", "macs", "kex", "uri", "dns", "ips", "v2", "sftp", "tcp"})
WORDS: Final[Mapping[str, str]] = MappingProxyType({"macs": "MACs", "ips": "IP addresses", "v2": "v2"})
SHORT: Final = 255
"""A text that may be longer is asked for in several lines, unless its pattern allows none."""
ONE_LINE: Final = frozenset({NAME_PATTERN, USERNAME_PATTERN, HOST_PATTERN})

_SFTP: Final = ("type", ("sftp",))
_TCP: Final = ("type", ("tcp",))
_DEDICATED: Final = ("outbound_credentials", ("dedicated",))
SHOWN: Final[Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]]] = MappingProxyType(
    {
        "Listener": {
            "route": _SFTP,
            "default_outbound_node": _SFTP,
            "withhold_banner": _SFTP,
            "ip_filter": _TCP,
            "target_host": _TCP,
            "target_port": _TCP,
            "send_proxy_v2": _TCP,
            "proxy_trusted": ("proxy_protocol", ("required",)),
        },
        "Rule": {
            "account_repository": ("inbound_source", ("account_repository",)),
            "trusted_ca_keys": (
                "inbound_method",
                ("public_key", "password_or_public_key", "password_and_public_key"),
            ),
            "username": _DEDICATED,
            "password": _DEDICATED,
            "private_key": _DEDICATED,
        },
        "OutboundNode": {
            "weight": ("distribution", ("weighted",)),
            "sessions_per_connection": ("connection_reuse", ("on",)),
        },
    }
)
"""model -> field -> the field that gives it a meaning, and what that has to say."""


@cache
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model, in the order of definition."""
    return tuple(_field(model, name, info) for name, info in model.model_fields.items())


def label_of(name: str) -> str:
    """`account_repository` -> "Account repository"."""
    words = [WORDS.get(word, word.upper() if word in ACRONYMS else word) for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def word_of(choice: str) -> str:
    """`password_or_public_key` -> "password or public key". What has no letters and underlines only stays as it is."""
    return choice.replace("_", " ") if choice.replace("_", "").isalpha() else choice


def _field(model: type[BaseModel], name: str, info: FieldInfo) -> Field:
    inner, marks, optional, many = _unwrapped(info)
    about = info.description or next((mark.description for mark in marks if getattr(mark, "description", None)), "")
    widget, extra = _widget(inner, marks, many)
    if widget is Widget.SECRET:
        extra["multiline"] = any(name in made for made in MADE.values()) and model.__name__ != "Rule"
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return Field(
        name=name,
        widget=widget,
        label=label_of(name),
        help=about,
        required=info.is_required(),
        optional=optional,
        default=_plain(default),
        limits=_limits([*info.metadata, *marks]),
        shown=SHOWN.get(model.__name__, {}).get(name),
        **extra,
    )


def _widget(inner: Any, marks: list[Any], many: bool) -> tuple[Widget, dict[str, Any]]:
    for mark in marks:
        if isinstance(mark, Ref):
            return Widget.PICKS if many else Widget.PICK, {"kind": mark.kind}
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return Widget.BLOCKS if many else Widget.BLOCK, {"fields": fields_of(inner)}
    if isinstance(inner, type) and issubclass(inner, Enum):
        return Widget.CHECKS if many else Widget.SELECT, {"choices": tuple(each.value for each in inner)}
    if many:
        return Widget.LINES, {"choices": _known(marks)}
    if inner is Secret:
        return Widget.SECRET, {}
    if inner is bool:
        return Widget.CHECK, {}
    if inner is int:
        return Widget.NUMBER, {}
    return (Widget.AREA if _is_long(marks) else Widget.TEXT), {}


def _is_long(marks: list[Any]) -> bool:
    limits, patterns = _limits(marks), {getattr(mark, "pattern", None) for mark in _flat(marks)}
    return limits.get("max_length", 0) > SHORT and not patterns & ONE_LINE


def _known(marks: list[Any]) -> tuple[str, ...]:
    """The texts that are allowed, where the model lists them for its JSON schema."""
    for mark in marks:
        listed = getattr(mark, "json_schema_extra", None)
        if isinstance(listed, dict) and "enum" in listed:
            return tuple(listed["enum"])
    return ()


LIMITS: Final = ("ge", "le", "max_length", "min_length")


def _limits(marks: list[Any]) -> Mapping[str, int]:
    found = {
        name: getattr(mark, name) for mark in _flat(marks) for name in LIMITS if getattr(mark, name, None) is not None
    }
    return MappingProxyType(found)


def _flat(marks: list[Any]) -> Iterator[Any]:
    """A FieldInfo within `Annotated` holds further marks."""
    for mark in marks:
        yield mark
        yield from getattr(mark, "metadata", ())


def _unwrapped(info: FieldInfo) -> tuple[Any, list[Any], bool, bool]:
    """What is inside of `Annotated`, `| None` and `tuple[..., ...]`; the marks on the way; which it was."""
    kind: Any = info.annotation
    marks, optional, many = list(info.metadata), False, False
    while True:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            marks += kind.__metadata__
            kind = arguments[0]
        elif origin in (Union, types.UnionType) and type(None) in arguments:
            (kind,) = [each for each in arguments if each is not type(None)]
            optional = True
        elif origin is tuple:
            kind, many, marks = arguments[0], True, []  # the limits of a list are not those of its entries
        else:
            return kind, marks, optional, many


def _plain(value: Any) -> Any:
    """A default as a JSON document has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value
