"""Every page, with texts in it that would do harm if they were taken for anything but texts: sound, of a fitting width
on wide and narrow screens, and with nothing that axe-core finds serious."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

from playwright.sync_api import expect

from tests.e2e.suite import Suite, random_file
from tests.ui.browser import SIZES, Visitor
from tests.ui.probes import HARMED, MARK, PROBE, SHORT, TIGHT, Way, certificate, probe
from usp.model import KINDS

KEPT = {
    "inbound-nodes": {"banner"},
    "public-keys": {"public_key"},
    "rules": {"policy.paths.path", "policy.forbidden_names", "policy.root", "scan.url", "scan.exclude"},
    "accounts": {"policy.paths.path"},
}
"""Besides `description`, which takes everything."""


def bring(suite: Suite, tmp_path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Probes into whatever anybody can bring a text to. Kind -> id of the item that has them; pages of a push."""
    random_file(tmp_path / "file", 10)
    done = suite.sftp(f'put {tmp_path / "file"} "{SHORT}"\nrm "{SHORT}"\n')
    assert done.returncode == 0, done.stderr
    suite.sftp("pwd\n", "-o", f"User={PROBE.replace(' ', '/')}", password=PROBE)
    suite.api("PATCH", "/me", {"full_name": PROBE[:200]})
    suite.api("POST", "/items/ca-certificates", {"name": "probed", "certificate": certificate()})
    found = {}
    for kind in KINDS:
        item = "probed" if kind == "ca-certificates" else suite.api("GET", f"/items/{kind}")["items"][0]["id"]
        document = suite.api("GET", f"/items/{kind}/{item}")
        found[kind] = document["id"]

        def send(document: dict[str, object], kind: str = kind) -> list[Way] | None:
            try:
                suite.api("PUT", f"/items/{kind}/{document['id']}", document)
            except HTTPError as error:
                if error.code != 422:
                    raise
                return [tuple(each["loc"]) for each in json.load(error)["errors"]]
            return None

        probed = probe(kind, document, send)
        assert probed.kept >= {"description"} | KEPT.get(kind, set()), f"{kind}: {probed}"
    pushed = suite.api("POST", "/push?wait=10", {"servers": ["usp-server-1"], "comment": PROBE, "force": True})
    suite.api(
        "POST",
        "/webhooks",
        {"name": "probed", "url": f"https://hooks.example/{TIGHT}", "wanted": {"action": PROBE[:250]}},
    )
    suite.api("PATCH", "/webhooks/probed", {"enabled": False})
    made = pushed["servers"][0]["version"]
    return found, (f"pushes/{pushed['id']}", f"servers/usp-server-1/versions/{made}")


def pages(ids: dict[str, str], push: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """(path, whether axe-core looks at it: of pages that are alike, at one)."""
    monitoring = ("status", "dashboard", "sessions", "events", "topology", "servers/usp-server-1")
    tools = ("setup", "setup?server=new", "explain", "scan", "kit", "users", "account")
    more = ("pushes", *push, "webhooks", "access")
    yield from ((f"/ui/{path}", True) for path in (*monitoring, *tools, *more))
    yield f"/ui/kit?listener={ids['listeners']}&account={ids['accounts']}&host={quote(PROBE)}", True
    yield f"/ui/scan?node={ids['outbound-nodes']}", False
    yield f"/ui/events/story?path={quote('/' + SHORT)}", True
    for kind, id in ids.items():
        one = kind == "accounts"
        yield f"/ui/items/{kind}?q={MARK}", one
        yield f"/ui/items/{kind}/{id}", True
        yield f"/ui/items/{kind}/{id}/history", one
        if kind in KEPT:  # the same form as above: those with most in it
            yield f"/ui/items/{kind}/new?of={id}", False


ASKED = (
    f"events?account={quote(PROBE)}&path={quote(PROBE)}&outcome={quote(PROBE)}&from={quote(PROBE)}",
    f"sessions?find={quote(PROBE)}",
    f"items/rules?q={quote(PROBE)}&state={quote(PROBE)}&sort={quote(PROBE)}",
    f"topology?server={quote(PROBE)}",
    f"setup?server={quote(PROBE)}",
    f"explain?server={quote(PROBE)}&listener={quote(PROBE)}",
    f"scan?host={quote(PROBE)}&port={quote(PROBE)}",
    f"items/{quote(PROBE, safe='')}",
    f"servers/{quote(PROBE, safe='')}",
    f"login?next={quote(PROBE)}",
)
"""Addresses that a mail could bring."""


def look(visitor: Visitor, path: str, *, thorough: bool = False) -> None:
    page = visitor.page
    harm = page.evaluate(HARMED)
    assert not harm, f"{path}: {harm}"
    visitor.violations(page)
    if thorough:
        visitor.check()
    for size in ("narrow", "wide"):
        page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide on a {size} screen"


def test_texts_are_texts_on_every_page_and_every_page_is_sound(admin: Visitor, suite: Suite, tmp_path: Path) -> None:
    page = admin.page
    secrets = (suite.ready["partner"]["password"], suite.ready["admin"]["token"], "BEGIN OPENSSH PRIVATE KEY")
    with suite.restored():
        ids, push = bring(suite, tmp_path)
        page.goto("/ui/servers/usp-server-1/push")
        for path, thorough in pages(ids, push):
            response = page.goto(path)
            assert response is not None
            assert response.status == 200, path
            text = page.content()
            assert not any(secret in text for secret in secrets), path
            if path.startswith("/ui/items/"):
                assert MARK in text, f"{path}: it is shown as the text that it is"
            look(admin, path, thorough=thorough)
        for path in ASKED:
            with admin.expecting("404"), admin.expecting("422"):
                page.goto(f"/ui/{path}")
            look(admin, path)
    suite.api("PATCH", "/me", {"full_name": ""})
    suite.api("DELETE", "/webhooks/probed")


FILL = """(text) => {
  const form = document.querySelector("main form[data-form]");
  for (const field of form.querySelectorAll("input:not([type]), textarea")) if (!field.disabled) field.value = text;
  form.requestSubmit();
}"""


def test_what_is_refused_is_shown_as_text(admin: Visitor) -> None:
    page = admin.page
    for kind in KINDS:
        page.goto(f"/ui/items/{kind}/new")
        with admin.expecting("422"):
            page.evaluate(FILL, PROBE)
            expect(page.locator("main [role=alert]").first).to_be_visible()
        assert MARK in page.content(), kind
        look(admin, kind)
