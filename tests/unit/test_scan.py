"""A scan as it is written."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from usp.scan import Otherwise, Scan, Service


def scan(url: str, **fields: object) -> Scan:
    return Scan.model_validate_json(json.dumps({"url": url, **fields}))


@pytest.mark.parametrize(
    ("url", "service", "whole"),
    [
        ("icap://av/x", Service("av", 1344, "/x"), "icap://av:1344/x"),
        ("icap://10.0.0.1:13/a?b=c&d", Service("10.0.0.1", 13, "/a?b=c&d"), "icap://10.0.0.1:13/a?b=c&d"),
        ("icap://[2001:db8::1]/avscan", Service("2001:db8::1", 1344, "/avscan"), "icap://[2001:db8::1]:1344/avscan"),
    ],
)
def test_where_the_service_is(url: str, service: Service, whole: str) -> None:
    assert scan(url).service == service
    assert service.url == whole


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://av/x",
        "icap://av",
        "icap://av/",
        "icap://av:0/x",
        "icap://av:65536/x",
        "icap://a b/x",
        "icap://av/x\r\nY: 1",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValidationError, match="must be such as icap://scanner"):
        scan(url)


def test_what_cannot_be_scanned_is_refused_if_not_said_otherwise() -> None:
    made = scan("icap://av/x")
    assert (made.on_failure, made.on_oversize, made.max_size, made.exclude) == (
        Otherwise.BLOCK,
        Otherwise.BLOCK,
        None,
        (),
    )
