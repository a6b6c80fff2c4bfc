"""Sets: what is exported is what can be applied, and a plan says what that changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.catalogs import ITEMS, NOW, changed, delta, ids, sample
from usp.errors import Problem, UspError
from usp.manager.catalog import EMPTY, Catalog, Create, Delete, Update, apply
from usp.manager.sealing import Seal
from usp.manager.sets import (
    Step,
    Wanted,
    changes,
    documents,
    opened,
    plan,
    redacted,
    salt_for,
    salts,
    sealed_by,
    wanted,
)
from usp.model import KINDS
from usp.secret import Secret

CATALOG = sample()
SALT = salt_for(CATALOG)
SEAL = Seal(Secret("a long passphrase"), SALT)


def of(**kinds: list[dict[str, Any]]) -> list[Wanted]:
    return wanted({"items": {kind.replace("_", "-"): items for kind, items in kinds.items()}})


def problems(body: object, code: str = "request.invalid") -> list[Problem]:
    with pytest.raises(UspError) as caught:
        wanted(body)
    assert caught.value.code == code
    return list(caught.value.problems)


# Export


def test_an_export_names_what_it_refers_to_and_leaves_out_what_is_as_by_default() -> None:
    found = documents(CATALOG)
    assert list(found) == list(KINDS)
    assert found["inbound-nodes"][0] == {
        "name": "high",
        "priority": 9,
        "ip_filter": "everyone",
        "host_keys": ["host-key", "host-key-2"],
        "rule": "passthrough",
    }
    assert [item["name"] for item in found["private-keys"]] == ["host-key", "host-key-2", "tunnel-key"]
    assert found["tls-certificates"] == [{"name": "tls", "certificate": "PEM of tls", "private_key": "***"}]
    assert found["rules"][1]["password"] == ""
    assert found["deployments"] == [
        {"name": "sftp-dmz", "listener": "sftp", "proxy_server": "dmz", "tunnel": "tunnel", "proxy_client": "lan"}
    ]
    assert documents(EMPTY) == {}


def test_no_secret_is_exported_in_clear() -> None:
    assert "SECRET" not in json.dumps(documents(CATALOG, redacted))
    assert "SECRET" not in json.dumps(documents(CATALOG, sealed_by(SEAL)))


def test_what_was_exported_changes_nothing() -> None:
    items = wanted({"items": documents(CATALOG)})
    assert not delta(CATALOG, *changes(CATALOG, items, prune=True))
    sealed = wanted({"items": documents(CATALOG, sealed_by(SEAL))})
    assert salts(sealed) == {SALT}
    assert not delta(CATALOG, *changes(CATALOG, opened(sealed, {SALT: SEAL}), prune=True))


def test_elsewhere_it_makes_the_same() -> None:
    sealed = documents(CATALOG, sealed_by(SEAL))
    items = opened(wanted({"items": sealed}), {SALT: SEAL})
    copy = EMPTY.after(apply(EMPTY, changes(EMPTY, items), now=NOW, new_id=ids("other")))
    assert len(copy.records) == len(ITEMS)
    assert documents(copy, sealed_by(SEAL)) == sealed


def test_seals_are_set_apart_by_the_keys_of_a_configuration() -> None:
    def facts(item: Any) -> dict[str, str]:
        return {"fingerprint": f"of {item.name}"} if item.kind == "public-keys" else {}

    def made(*names: str) -> Catalog:
        creates = [Create("public-keys", {"name": name, "public_key": name}) for name in names]
        filters = [Create("ip-filters", {"name": f"f{len(names)}"})]
        return EMPTY.after(apply(EMPTY, creates + filters, now=NOW, new_id=ids(), facts=facts))

    one, other = salt_for(made("a", "b")), salt_for(made("b", "a"))
    assert one == other
    assert one != salt_for(made("a"))
    assert len(one) == 16


# What is taken


def test_both_shapes() -> None:
    by_kind = of(rules=[{"name": "r", "id": "x", "revision": 1}], ip_filters=[{"name": "f"}])
    listed = wanted({"items": [{"kind": "rules", "name": "r"}, {"kind": "ip-filters", "name": "f"}]})
    assert [(item.kind, item.fields) for item in by_kind] == [("rules", {"name": "r"}), ("ip-filters", {"name": "f"})]
    assert [(item.kind, item.fields) for item in listed] == [(item.kind, item.fields) for item in by_kind]
    assert [item.loc for item in by_kind] == [("items", "rules", 0), ("items", "ip-filters", 0)]
    assert [item.loc for item in listed] == [("items", 0), ("items", 1)]
    assert of() == []


@pytest.mark.parametrize(
    ("body", "loc", "msg"),
    [
        (None, ("items",), "must be an object of lists by kind, or a list"),
        ({}, ("items",), "must be an object of lists by kind, or a list"),
        ({"items": "x"}, ("items",), "must be an object of lists by kind, or a list"),
        ({"items": {"rules": {}}}, ("items", "rules"), "must be a list of items"),
        ({"items": {"toys": [{}, {}]}}, ("items", "toys"), "there is no kind of item called 'toys'"),
        ({"items": [{"name": "x"}]}, ("items", 0), "there is no kind of item called ''"),
        ({"items": [7]}, ("items", 0), "there is no kind of item called ''"),
        ({"items": {"rules": [7]}}, ("items", "rules", 0), "must be an object of the item's fields"),
        (
            {"items": {"rules": [{"name": "a"}, {"name": "a"}]}},
            ("items", "rules", 1, "name"),
            "'a' is in this set twice",
        ),
    ],
)
def test_what_is_no_set(body: object, loc: Any, msg: str) -> None:
    (problem,) = problems(body)
    assert problem.loc == loc
    assert msg in problem.msg


def test_items_without_a_name_are_left_to_the_catalog() -> None:
    items = of(rules=[{}, {}])
    assert [change.kind for change in changes(CATALOG, items)] == ["rules", "rules"]


# Sealed


def test_sealed_secrets_need_the_passphrase() -> None:
    sealed = SEAL.close(Secret("x"), "rules/r/password")
    items = of(rules=[{"name": "r", "password": sealed}, {"name": "s", "password": sealed}, {"name": "t"}])

    def refused(seals: dict[bytes, Seal] | None) -> list[Problem]:
        with pytest.raises(UspError) as caught:
            opened(items, seals)
        assert caught.value.code == "item.invalid"
        return list(caught.value.problems)

    assert [problem.loc for problem in refused(None)] == [("items", "rules", n, "password") for n in (0, 1)]
    assert "give the passphrase" in refused(None)[0].msg
    assert [problem.loc for problem in refused({})] == [("items", "rules", n, "password") for n in (0, 1)]
    (problem,) = refused({SALT: SEAL})
    assert problem.loc == ("items", "rules", 1, "password")
    assert "sealed for an item of another name" in problem.msg
    assert opened(items[:1], {SALT: SEAL})[0].fields == {"name": "r", "password": "x"}


def test_exports_can_be_mixed_within_reason() -> None:
    import base64

    texts = [f"usp-sealed-1:{base64.b64encode(bytes([n]) * 16).decode()}:AAAA" for n in range(5)]
    items = of(rules=[{"name": f"r{n}", "password": text} for n, text in enumerate([*texts, "usp-sealed-1:x:y"])])
    assert len(salts(items[:4])) == 4
    assert salts(items[5:]) == set()
    with pytest.raises(UspError, match="more than 4 exports"):
        salts(items)


# Changes


def test_known_names_are_updated_and_others_made() -> None:
    known = CATALOG.get("ip-filters", "everyone")
    update, create, by_id = changes(CATALOG, of(ip_filters=[{"name": "everyone"}, {"name": "new"}, {"name": known.id}]))
    assert isinstance(update, Update)
    assert isinstance(create, Create)
    assert isinstance(by_id, Create)  # which the catalog will refuse: no item is called as another's id
    assert (update.key, update.loc) == (known.id, ("items", "ip-filters", 0))


def test_prune_deletes_the_rest() -> None:
    kept = {kind: items for kind, items in documents(CATALOG).items() if kind != "deployments"}
    everything = changes(CATALOG, wanted({"items": kept}), prune=True)
    (delete,) = [change for change in everything if isinstance(change, Delete)]
    assert (delete.kind, delete.loc) == ("deployments", ("prune", "deployments", "sftp-dmz"))
    with pytest.raises(UspError, match="would delete everything"):
        changes(CATALOG, [], prune=True)


def test_what_was_generated_stays() -> None:
    new, old, certificate, other = changes(
        CATALOG,
        of(
            private_keys=[{"name": "new", "generate": "ed25519"}, {"name": "host-key", "generate": "ed25519"}],
            tls_certificates=[{"name": "tls", "generate": {}}],
            rules=[{"name": "dedicated", "generate": "?"}],
        ),
    )
    assert isinstance(new, Create)
    assert isinstance(old, Update)
    assert isinstance(certificate, Update)
    assert isinstance(other, Update)
    assert new.fields == {"name": "new", "generate": "ed25519"}
    assert old.fields == {"name": "host-key"}
    assert certificate.fields == {"name": "tls", "certificate": "PEM of tls"}
    assert other.fields == {"name": "dedicated", "generate": "?"}
    assert not delta(CATALOG, old, certificate)


# The plan


def test_a_plan_says_what_changes_and_tells_no_secret() -> None:
    catalog = changed(CATALOG, Create("private-keys", {"name": "spare", "private_key": "SECRET-spare"}))
    rule = next(item for item in documents(catalog)["rules"] if item["name"] == "dedicated")
    items = of(
        rules=[{**rule, "username": "other", "password": ""}],
        private_keys=[
            {"name": "host-key", "description": "d"},
            {"name": "host-key-2"},
            {"name": "made", "private_key": "SECRET-made", "enabled": True},
        ],
        outbound_nodes=[item for item in documents(catalog)["outbound-nodes"] if item["name"] == "spare"],
    )
    wanted_deletes = [Delete("private-keys", "spare")]
    found = delta(catalog, *changes(catalog, items), *wanted_deletes)
    steps = {(step.action, step.name): step for step in plan(found, items, applied=False).steps}
    assert steps == {
        ("create", "made"): Step("create", "private-keys", "made", ("name", "enabled"), {"private_key": "changed"}),
        ("update", "dedicated"): Step("update", "rules", "dedicated", ("username",), {"password": "changed"}),
        ("update", "host-key"): Step(
            "update", "private-keys", "host-key", ("description",), {"private_key": "unchanged"}
        ),
        ("delete", "spare"): Step("delete", "private-keys", "spare"),
    }
    assert "SECRET" not in repr(steps)
    made = plan(found, items, applied=True)
    assert (made.applied, made.revision, made.unchanged) == (True, catalog.revision + 1, 2)
    assert plan(found, items, applied=False).revision == catalog.revision
