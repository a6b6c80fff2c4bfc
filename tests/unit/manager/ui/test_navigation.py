"""The menu."""

from __future__ import annotations

from usp.manager.ui.navigation import ICONS, SECTIONS, plural
from usp.model import KINDS, AccountRepository, IpFilter, PrivateKey


def test_every_kind_is_in_the_menu() -> None:
    paths = [entry.path for section in SECTIONS for entry in section.entries]
    assert len(set(paths)) == len(paths)
    assert ICONS.keys() == KINDS.keys()
    assert {f"/ui/items/{kind}" for kind in KINDS} <= set(paths)


def test_many() -> None:
    assert [plural(each) for each in (AccountRepository, IpFilter, PrivateKey)] == [
        "Account Repositories",
        "IP Filters",
        "Private Keys",
    ]
