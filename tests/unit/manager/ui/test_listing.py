"""Lists of items: columns, search, order, pages."""

from __future__ import annotations

import pytest

from tests.catalogs import NOW, sample
from usp.manager.catalog import Catalog
from usp.manager.ui.listing import PAGE, Link, Wanted, columns, link, listing
from usp.model import KINDS, IpFilter, Record

CATALOG = sample()


def names(kind: str, catalog: Catalog = CATALOG, **wanted: object) -> list[str]:
    return [row.record.item.name for row in listing(catalog, kind, Wanted(**wanted)).rows]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_list(kind: str) -> None:
    found = listing(CATALOG, kind, Wanted())
    assert found.found == found.all == len(CATALOG.of_kind(kind)) == len(found.rows)
    for row in found.rows:
        assert len(row.cells) == len(found.columns) == len(columns(kind))
        assert "SECRET" not in str(row.cells)
    for column, _ in found.columns:
        assert sorted(names(kind, sort=column)) == names(kind) == sorted(names(kind, sort=f"-{column}"))


def test_columns_tell_items_apart() -> None:
    assert [name for name, _ in columns("deployments")] == [
        "listener",
        "proxy_server",
        "startup",
        "tunnel",
        "proxy_client",
    ]
    assert [label for _, label in columns("private-keys")] == ["Type", "Fingerprint"]


def test_cells_name_what_is_referred_to() -> None:
    (row,) = listing(CATALOG, "routes", Wanted()).rows
    assert [each.name for each in row.cells[0].links] == ["low", "high"]
    assert row.cells[0].links[0] == Link("inbound-nodes", CATALOG.get("inbound-nodes", "low").id, "low")
    assert link(CATALOG, "rules", "gone").name == "gone"


def test_search() -> None:
    assert names("rules", q="DEDIC") == ["dedicated"]
    assert names("rules", q="public key partners") == ["dedicated"]
    assert names("outbound-nodes", q="spare.internal") == ["spare"]
    assert names("routes", q="high") == ["route"]
    assert names("routes", q="high nowhere") == []


def test_states() -> None:
    off = CATALOG.get("rules", "dedicated")
    record = off.model_copy(update={"item": off.item.model_copy(update={"enabled": False})})
    catalog = Catalog(2, {**CATALOG.records, off.id: record})
    assert names("rules", catalog, state="disabled") == ["dedicated"]
    assert names("rules", catalog, state="enabled") == ["passthrough"]
    assert names("rules", catalog, state="unused") == ["dedicated"]
    assert names("rules", catalog, sort="enabled") == ["passthrough", "dedicated"]


def filters(count: int) -> Catalog:
    items = [IpFilter(name=f"f{n:03}", allow=tuple(f"192.0.2.{each}" for each in range(n % 7))) for n in range(count)]
    records = {
        item.name: Record(kind=item.kind, id=item.name, revision=1, created_at=NOW, updated_at=NOW, item=item, facts={})
        for item in items
    }
    return Catalog(1, records)


def test_order_and_pages() -> None:
    catalog = filters(PAGE + 5)
    first = listing(catalog, "ip-filters", Wanted())
    assert (first.found, first.pages, first.page, len(first.rows)) == (105, 2, 1, 100)
    last = listing(catalog, "ip-filters", Wanted(page=9, sort="-name"))
    assert (last.page, [row.record.item.name for row in last.rows]) == (2, ["f004", "f003", "f002", "f001", "f000"])
    assert listing(catalog, "ip-filters", Wanted(page=-1)).page == 1
    many = next(row for row in first.rows if row.record.item.name == "f006")
    assert (many.cells[1].text, many.cells[1].more) == ("192.0.2.0, 192.0.2.1, 192.0.2.2, 192.0.2.3", 2)
    assert len(names("ip-filters", catalog, q="192.0.2.5")) == 15  # what is not shown is found, too
    assert names("ip-filters", filters(2), sort="updated_at") == ["f000", "f001"]
    assert names("ip-filters", filters(2), sort="nonsense") == ["f000", "f001"]


def test_numbers_are_in_the_order_of_numbers() -> None:
    assert names("inbound-nodes", sort="priority") == ["low", "high"]
    assert names("inbound-nodes", sort="-priority") == ["high", "low"]
    ports = [row.record.item.port for row in listing(CATALOG, "listeners", Wanted(sort="port")).rows]  # type: ignore[attr-defined]
    assert ports == sorted(ports)
