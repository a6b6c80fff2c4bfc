"""Lists: which page of them, and which items.

Pages go by key: `next` is the key of the last entry, and the next page begins after it, whatever came and went
meanwhile.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog
from usp.model import KINDS, Record

PAGE: Final = 100
MAX_PAGE: Final = 1000

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at the most")]


T = TypeVar("T")


class PageQuery(BaseModel):
    """Which page is wanted. Anything else in the query is refused, because it would have no effect."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    limit: int = Field(default=PAGE, ge=1, le=MAX_PAGE, description="How many at the most")
    after: str = Field(default="", max_length=600, description="`next` of the page before")


Paging = Annotated[PageQuery, Query()]


def cut(
    entries: Iterable[T], key: Callable[[T], str], query: PageQuery, *, latest_first: bool = False
) -> tuple[list[T], str | None]:
    """A page of the entries, in the order of their keys, and `next`."""
    comes_after = operator.lt if latest_first else operator.gt
    rest = [entry for entry in entries if not query.after or comes_after(key(entry), query.after)]
    page = sorted(rest, key=key, reverse=latest_first)[: query.limit]
    return page, key(page[-1]) if len(rest) > query.limit else None


class ItemQuery(PageQuery):
    """What is wanted of a list of items."""

    name: str | None = Field(
        default=None, pattern=r"^[a-zA-Z0-9_*-]{1,255}$", description="Only that one; `*` stands for any characters"
    )
    enabled: bool | None = Field(default=None, description="Only those that are, or are not")
    refers_to: str | None = Field(
        default=None, max_length=300, description="Only those that refer to this item: its id, or KIND/NAME"
    )


def page(catalog: Catalog, kind: str, query: ItemQuery) -> tuple[Sequence[Record], str | None]:
    """The records, by name, and `next`. UspError request.invalid when `refers_to` names nothing."""
    referrers = None if query.refers_to is None else _referrers(catalog, query.refers_to)
    found: list[Record] = []
    for record in catalog.of_kind(kind):
        wanted = (
            record.item.name > query.after
            and (query.name is None or fnmatchcase(record.item.name, query.name))
            and (query.enabled is None or record.item.enabled is query.enabled)
            and (referrers is None or record.id in referrers)
        )
        if wanted:
            if len(found) == query.limit:
                return found, found[-1].item.name
            found.append(record)
    return found, None


def _referrers(catalog: Catalog, target: str) -> frozenset[str]:
    kind, _, name = target.rpartition("/")
    record = catalog.records.get(target) if not kind else catalog.find(kind, name) if kind in KINDS else None
    if record is None:
        msg = "there is no such item; give its id, or KIND/NAME such as rules/partners"
        raise UspError("request.invalid", problems=[Problem(("query", "refers_to"), msg)])
    return frozenset(referrer.id for referrer, _ in catalog.referrers(record.id))
