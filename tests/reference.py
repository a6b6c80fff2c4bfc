"""Pages about the configuration, made from its models: docs/settings.md (the three files) and docs/items.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import PydanticUndefined

from usp.configfile import _block_model, _labelled_model, _variable
from usp.model import KINDS, Model
from usp.settings import ClientSettings, ManagerSettings, ServerSettings

SETTINGS_HEAD: Final = """\
# Configuration files: every argument

<!-- Made by `make docs` from usp/settings.py. -->

Three daemons, three files in HCL, `/opt/udmg/etc/usp-server.hcl`, `usp-client.hcl` and `usp-manager.hcl`; `etc/` has
commented samples. What partners, targets and rules are is no part of them: those are [items](items.md), which the
manager holds and pushes.

An argument in a block is written in it: `web.tls.cert` is `web { tls { cert = "..." } }`. Every one may be overridden
from the environment by the variable beside it; lists are written as JSON. `--check` says what is in effect, or all that
is wrong, with line and column. A change takes effect at the next start; SIGHUP (`systemctl reload`) takes `log.level`,
and the certificates and keys of `web.tls` anew, and opens the log files again.
"""

ITEMS_HEAD: Final = """\
# Items: every field of every kind

<!-- Made by `make docs` from usp/model.py. -->

What the manager holds, and its UI, `usp apply` and the REST API take. [configuration](configuration.md) says how they
go together and are written as files. A field that refers to another item takes its name or id. Secret fields are
written, never read.
"""


_WORDS: Final = {"integer": "number", "number": "number", "boolean": "`true`, `false`", "object": "block"}


def settings_page() -> str:
    parts = [SETTINGS_HEAD]
    for daemon, model in (
        ("usp-server", ServerSettings),
        ("usp-client", ClientSettings),
        ("usp-manager", ManagerSettings),
    ):
        parts.append(f"\n## {daemon}.hcl\n\n| argument | default | meaning | variable |\n|---|---|---|---|\n")
        parts += _arguments(model, ())
    return "".join(parts)


def _arguments(model: type[Model], path: tuple[str, ...], *, variables: bool = True) -> Iterator[str]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        inner = _block_model(field)
        labelled = _labelled_model(field)
        if inner is not None:
            yield from _arguments(inner, here)
            continue
        if labelled is not None:
            yield from _arguments(labelled, (*path, f'{name} "NAME"'), variables=False)
            continue
        default = "required" if field.is_required() else f"`{_said(field.default)}`"
        variable = f"`{_variable(here)}`" if variables else "none"
        yield f"| `{'.'.join(here)}` | {default} | {_cell(field.description or '')} | {variable} |\n"


def items_page() -> str:
    parts = [ITEMS_HEAD]
    for kind, model in KINDS.items():
        schema = model.model_json_schema()
        parts.append(f"\n## {model.title}: `{kind}`\n\n{schema.get('description', '')}\n\n")
        parts.append("| field | type | default | meaning |\n|---|---|---|---|\n")
        parts += _fields(schema, schema, model, "")
    return "".join(parts)


def _fields(schema: Mapping[str, Any], whole: Mapping[str, Any], model: type[Model], prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{_said(field.get('default'))}`"
        row = (f"`{prefix}{name}`", _type(field, whole), default, _cell(field.get("description", "")))
        yield f"| {' | '.join(row)} |\n"
        inner = _object(field, whole)
        if inner is not None and not prefix.count("."):
            yield from _fields(inner, whole, model, f"{prefix}{name}.")


def _object(field: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for option in (field, *field.get("anyOf", ()), *([field["items"]] if "items" in field else [])):
        if "$ref" in option:
            found: Mapping[str, Any] = whole["$defs"][option["$ref"].rpartition("/")[2]]
            if "properties" in found:
                return found
    return None


def _type(field: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _type(whole["$defs"][field["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in field:
        words = [_type(option, whole) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), whole)}"
    return _WORDS.get(str(field.get("type")), "text")


def _said(value: object) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, Model):
        return "{}"
    return _cell(json.dumps(value, ensure_ascii=False, default=str))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
