"""Which pages there are: where one begins, and which links lead on to a page of a sort that was not seen yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from playwright.sync_api import Page

START: Final = (
    *(f"/ui/{page}" for page in ("status", "dashboard", "sessions", "events", "topology")),
    *(f"/ui/servers/usp-server-1{page}" for page in ("", "/push", "/versions/1")),
)
NO_PAGE: Final = r"logout|static|events\.|kit/|.*(?:download|/public|\.zip|/files?/.*|sort=.*)$"
LINK: Final = re.compile(rf"^/ui/(?!{NO_PAGE})[^#]*$")
ANY: Final = re.compile(r"[0-9a-f-]{36}|\d+|\?.*")


def followed(page: Page, start: tuple[str, ...] = START) -> Iterator[str]:
    """Goes to each of them. Of those whose addresses differ in a number, an id or a question, the first."""
    waiting, known = [*start], {*start, *map(sort_of, start)}
    for path in waiting:  # which grows meanwhile
        page.goto(path)
        yield path
        for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))"):
            if LINK.match(link) and sort_of(link) not in known:
                known.add(sort_of(link))
                waiting.append(link)


def sort_of(path: str) -> str:
    return ANY.sub("*", path)
