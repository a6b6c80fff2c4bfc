"""Keys and certificates that are made in place of being given: what their forms have more than others. Pure but for
the models of `generate`.

The form says `made`: `here` makes it, `given` takes what is in the fields. What belongs to the other choice is hidden,
and left out when it is sent all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from usp.manager.entry import GENERATED, PASSPHRASE, NewCa, NewCertificate
from usp.manager.kinds import GENERATE, MADE
from usp.manager.ui.fields import Field, Widget, fields_of
from usp.manager.ui.forms import Document, Sent, document_of
from usp.model import CaCertificate, PrivateKey, TlsCertificate

CHOICE: Final = "made"
HERE: Final = "here"
GIVEN: Final = "given"

_HERE: Final = (CHOICE, (HERE,))
_GIVEN: Final = (CHOICE, (GIVEN,))

WISHES: Final[Mapping[str, Field]] = {
    PrivateKey.kind: Field(
        GENERATE,
        Widget.SELECT,
        "Type",
        "ed25519 suits all but very old partners",
        choices=tuple(GENERATED),
        shown=_HERE,
    ),
    CaCertificate.kind: Field(
        GENERATE,
        Widget.BLOCK,
        "New authority",
        "Its key is kept here, and can sign",
        fields=fields_of(NewCa),
        shown=_HERE,
    ),
    TlsCertificate.kind: Field(
        GENERATE,
        Widget.BLOCK,
        "New certificate",
        "When nothing is named, it names this manager, as Proxy Servers want it",
        fields=fields_of(NewCertificate),
        shown=_HERE,
    ),
}
_PASSPHRASE: Final = Field(
    PASSPHRASE, Widget.SECRET, "Passphrase", "Opens the private key if it is encrypted; it is not kept", shown=_GIVEN
)


def choice(*, exists: bool) -> Field:
    words = (GIVEN, HERE) if exists else (HERE, GIVEN)
    about = "here: this manager makes it; given: it is in the fields below"
    return Field(CHOICE, Widget.SELECT, "Made", about, required=True, choices=words, default=words[0])


def fields(kind: str, own: Sequence[Field], *, exists: bool) -> tuple[Field, ...]:
    """The fields of a kind's form."""
    if kind not in MADE:
        return tuple(own)
    found: list[Field] = []
    for each in own:
        if each.name == MADE[kind][0]:
            found += [choice(exists=exists), WISHES[kind]]
        found.append(replace(each, shown=_GIVEN) if each.name in MADE[kind] else each)
    return (*found, _PASSPHRASE)


def wish(kind: str, sent: Sent, document: Document) -> Document:
    """The document, with what shall be made."""
    if kind not in MADE:
        return document
    rest = {name: value for name, value in document.items() if name not in MADE[kind]}
    if (sent.get(CHOICE) or [""])[-1] == HERE:
        return {**rest, **document_of([WISHES[kind]], sent)}
    passphrase = (sent.get(PASSPHRASE) or [""])[-1]
    return {**document, PASSPHRASE: passphrase} if passphrase else document


def sent_values(kind: str, sent: Sent | None) -> dict[str, Any]:
    """What the form said of making, to be shown again."""
    if kind not in MADE or sent is None:
        return {}
    return document_of([choice(exists=False), WISHES[kind]], sent)
