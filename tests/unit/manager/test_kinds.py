"""What the models say about their fields."""

from __future__ import annotations

import pytest

from tests.catalogs import sample
from usp.errors import UspError
from usp.manager.kinds import Reference, item_of, model_of, references, secrets, targets
from usp.model import KINDS, Account, AccountRepository, CaCertificate, Deployment, InboundNode, Rule, TlsCertificate


def test_there_are_sixteen_kinds() -> None:
    assert len(KINDS) == 16
    assert model_of("rules") is Rule


def test_an_unknown_kind() -> None:
    with pytest.raises(UspError, match="no kind of item called 'toys'") as caught:
        model_of("toys")
    assert caught.value.code == "kind.unknown"


def test_references_are_found_however_they_are_written() -> None:
    assert references(Account) == (
        Reference("account_repository", "account-repositories", many=False),
        Reference("public_keys", "public-keys", many=True),
    )
    assert [reference.field for reference in references(Deployment)] == [
        "listener",
        "proxy_server",
        "tunnel",
        "proxy_client",
    ]
    assert references(CaCertificate) == ()


def test_secrets_and_whether_they_are_required() -> None:
    assert dict(secrets(TlsCertificate)) == {"private_key": True}
    assert dict(secrets(Rule)) == {"password": False}
    assert dict(secrets(AccountRepository)) == {}


def test_targets_of_an_item() -> None:
    catalog = sample()
    node = item_of(InboundNode, catalog.get("inbound-nodes", "high"))
    found = [(reference.field, place) for reference, place, _ in targets(node)]
    assert found == [("ip_filter", None), ("host_keys", 0), ("host_keys", 1), ("rule", None)]
    passthrough = item_of(Rule, catalog.get("rules", "passthrough"))
    assert list(targets(passthrough)) == []
