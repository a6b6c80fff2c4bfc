"""Entity tags of items: the revision in quotes (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_LIST: Final = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_REVISION: Final = re.compile(r"[0-9]{1,18}")


def of(revision: int) -> str:
    return f'"{revision}"'


def revisions(header: str, *, weak: bool) -> frozenset[int] | None:
    """The revisions that are meant; None: any (`*`). What is no tag of ours matches nothing, and so does a weak one
    unless `weak`."""
    if header.strip() == "*":
        return None
    if not _LIST.fullmatch(header):
        return frozenset()
    tags = re.findall(_TAG, header)
    return frozenset(int(tag) for prefix, tag in tags if (weak or not prefix) and _REVISION.fullmatch(tag))


def unchanged(header: str | None, revision: int) -> bool:
    """Whether `If-None-Match` says that the asker has this one already."""
    if header is None:
        return False
    known = revisions(header, weak=True)
    return known is None or revision in known
