"""Texts that would do harm in a page that took them for anything but texts, for every text field of every kind of item.

Which fields there are follows from the models, so a new one is probed by itself. A field either refuses every probe,
with a finding that names it, or keeps one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from usp.manager.ui.fields import Field, Widget, fields_of
from usp.model import KINDS

MARK: Final = "usp-probe"
PROBE: Final = (
    f"\"'><{MARK} data-{MARK}=1 onfocus='hit=1'></{MARK}></textarea></title></script>"
    f"<img src=x onerror='hit=1'><script>hit=1</script><svg/onload='hit=1'>{{{{7*7}}}}javascript:hit=1"
)
SHORT: Final = f"<{MARK} onclick=hit()><img src=x onerror=hit=1>"
"""What fits into a certificate's or a file's name."""
TIGHT: Final = f"\"'><{MARK}/onclick=hit()><img/src=x/onerror=hit=1>"
"""Without a blank."""
TEXTS: Final = (Widget.TEXT, Widget.AREA, Widget.LINES)

HARMED: Final = f"""() => [
  window.hit === undefined ? "" : "a script has run",
  ...[...document.querySelectorAll("{MARK}, [data-{MARK}], img[src=x], [onerror], [onfocus], [onload], [onclick]")]
    .map((found) => found.outerHTML.slice(0, 200)),
  ...[...document.querySelectorAll("a[href], form[action], use[href]")]
    .map((found) => found.getAttribute("href") || found.getAttribute("action"))
    .filter((address) => !/^(\\/|#|$|\\?)/.test(address)),
].filter(Boolean)"""
"""What a page must not have: run scripts, elements and handlers of a probe, addresses that lead elsewhere."""

Way = tuple[str | int, ...]
Document = dict[str, Any]
Send = Callable[[Document], list[Way] | None]
"""Stores a document: None, or where it was refused."""


@dataclass(frozen=True, slots=True)
class Probed:
    """Fields of a kind, such as `policy.paths.path`, that kept a probe, and those that refused all."""

    kept: frozenset[str]
    refused: frozenset[str]


def probe(kind: str, document: Document, send: Send) -> Probed:
    """Bring probes into all text fields of an item of that kind, one after the other."""
    kept, refused = set(), set()
    for way in _texts(fields_of(KINDS[kind]), document):
        name = ".".join(part for part in way if isinstance(part, str))
        for text in _shapes(_at(document, way)):
            wish = _with(document, way, text)
            where = send(wish)
            if where is None:
                document = wish
                kept.add(name)
                break
            assert any(loc[: len(way)] == way[: len(loc)] for loc in where), f"{kind} {name}: refused for {where}"
        else:
            refused.add(name)
    return Probed(frozenset(kept), frozenset(refused))


def _texts(fields: tuple[Field, ...], document: Mapping[str, Any], way: Way = ()) -> Iterator[Way]:
    """The ways to texts, into blocks and into one row of rows, whether they are there or not."""
    for field in fields:
        here = (*way, field.name)
        value = document.get(field.name) or {}
        if field.widget is Widget.BLOCK:
            yield from _texts(field.fields, value, here)
        elif field.widget is Widget.BLOCKS:
            yield from _texts(field.fields, value[0] if value else {}, (*here, 0))
        elif field.widget is Widget.LINES:
            yield (*here, 0)
        elif field.widget in TEXTS:
            yield here


def _shapes(now: object) -> Iterator[str]:
    """Bare, as a path, as an address, behind what is there (a comment, a host)."""
    yield from (PROBE, SHORT, f"/{PROBE}", f"/{SHORT}", f"icap://scanner.internal/{TIGHT}")
    if now:
        yield from (f"{now} {PROBE}", f"{now}{TIGHT}")


REST: Final[Mapping[str, Any]] = {
    "paths": {"path": "/**", "access": "allow"},
    "windows": {"access": "read_only"},
    "alternates": {"host": "other.internal"},
    "scan": {"url": "icap://scanner.internal/scan"},
}
"""What a block or row needs besides the field that is probed."""


def _at(document: Any, way: Way) -> Any:
    for part in way:
        if isinstance(part, int):
            document = document[part] if document and len(document) > part else None
        else:
            document = (document or {}).get(part)
    return document


def _with(document: Any, way: Way, text: str, field: str = "") -> Any:
    """The document with that text there."""
    if not way:
        return text
    first, *rest = way
    if isinstance(first, int):
        rows = list(document or [])
        rows[first : first + 1] = [_with(rows[first] if rows else REST.get(field), tuple(rest), text)]
        return rows
    base = document if document is not None else REST.get(field, {})
    return {**base, first: _with(base.get(first), tuple(rest), text, first)}


def certificate() -> str:
    """Of an authority whose name is a probe: what was read out of it is shown, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SHORT)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=5))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()
