"""pydantic's findings in plain words: a `ValidationError` becomes located `Problem`s that say what to do.

One table, type of finding -> sentence. Input values never appear in it, because an input may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from usp.errors import Problem
from usp.model import BANNER_PATTERN, HOST_PATTERN, NAME_PATTERN, USERNAME_PATTERN
from usp.policy import TIME_PATTERN

PATTERNS: Final[Mapping[str, str]] = {
    NAME_PATTERN: "must be 1 to 255 letters, digits, '-' or '_'",
    HOST_PATTERN: "must be a host name or an IP address",
    BANNER_PATTERN: "must be text, tabs and line ends; other control characters could steer a terminal",
    TIME_PATTERN: "must be a time of day, from 00:00 to 24:00",
    USERNAME_PATTERN: "must be 1 to 255 letters, digits, '.', '@', '-' or '_'",
}

SENTENCES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "there is no such field",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length} (it has {actual_length})",
    "too_long": "must have at most {max_length} (it has {actual_length})",
    "json_invalid": "is not JSON: {error}",
    "value_error": "{error}",
}


def problems_of(error: ValidationError) -> list[Problem]:
    """Every finding of `error`, in the order of the fields."""
    return problems_in(error.errors(include_url=False, include_input=False))


def problems_in(findings: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """The same of findings that come without their ValidationError."""
    return [Problem(tuple(finding["loc"]), _sentence(finding)) for finding in findings]


def _sentence(finding: Mapping[str, Any]) -> str:
    context = finding.get("ctx", {})
    if finding["type"] == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], "is not written as it must be")
    template = SENTENCES.get(finding["type"])
    return template.format(**context) if template else str(finding["msg"])
