"""What there is in the UI, in the order in which it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from usp.model import KINDS, Item


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the menu. `name` marks it while it, or a page below it, is shown; `icon`: see templates/icons.html."""

    name: str
    title: str
    path: str
    icon: str
    for_all: bool = True  # else for administrators


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    entries: tuple[Entry, ...]


ICONS: Final = {
    "proxy-servers": "server",
    "tunnels": "tunnel",
    "proxy-clients": "link",
    "listeners": "door",
    "deployments": "push",
    "routes": "map",
    "inbound-nodes": "door",
    "outbound-nodes": "target",
    "rules": "shield",
    "account-repositories": "people",
    "accounts": "user",
    "ip-filters": "filter",
    "private-keys": "key",
    "public-keys": "key",
    "tls-certificates": "certificate",
    "ca-certificates": "certificate",
}
"""Kind -> icon, in the order of the menu."""


def plural(model: type[Item]) -> str:
    title = model.title
    return f"{title[:-1]}ies" if title.endswith("y") and title[-2] not in "aeiou" else f"{title}s"


SECTIONS: Final = (
    Section(
        "Monitoring",
        (
            Entry("status", "Status", "/ui/status", "pulse"),
            Entry("dashboard", "Dashboard", "/ui/dashboard", "chart"),
            Entry("sessions", "Sessions", "/ui/sessions", "people"),
            Entry("events", "Events", "/ui/events", "list"),
            Entry("topology", "Topology", "/ui/topology", "map"),
        ),
    ),
    Section(
        "Configuration",
        (
            Entry("setup", "Guided set-up", "/ui/setup", "play"),
            Entry("pushes", "Push to several", "/ui/pushes", "push"),
            *(Entry(kind, plural(KINDS[kind]), f"/ui/items/{kind}", icon) for kind, icon in ICONS.items()),
        ),
    ),
    Section(
        "Tools",
        (
            Entry("explain", "Explain a login", "/ui/explain", "search"),
            Entry("scan", "Read host keys", "/ui/scan", "key"),
            Entry("kit", "Partner kit", "/ui/kit", "copy"),
        ),
    ),
    Section(
        "Administration",
        (
            Entry("users", "Users", "/ui/users", "people", for_all=False),
            Entry("access", "Access", "/ui/access", "shield", for_all=False),
            Entry("webhooks", "Webhooks", "/ui/webhooks", "link", for_all=False),
            Entry("account", "Own account", "/ui/account", "user"),
        ),
    ),
)
"""One entry a line, so that branches do not collide."""
