"""A snapshot travels whole, its digest covers the content only, and its secrets stay out of sight."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from usp.model import Address, ListenerType
from usp.secret import REVEAL, Secret
from usp.snapshot import AccountSpec, Content, ListenerSpec, RepositorySpec, Snapshot, TargetSpec, TunnelSpec

LISTENER = ListenerSpec(id="l1", name="l", address="0.0.0.0", port=22, type=ListenerType.SFTP)
TUNNEL = TunnelSpec(id="t1", name="t", address="::", port=23, private_key=Secret("hunter2"))
CONTENT = Content(listeners=(LISTENER,), tunnels=(TUNNEL,))
ACCOUNT = AccountSpec(username="zoe", password=Secret('h"unter3 ü'))
REPOSITORIES = (RepositorySpec(id="r1", name="r", accounts=(ACCOUNT,)), RepositorySpec(id="r2", name="empty"))


def test_it_survives_the_wire() -> None:
    snapshot = Snapshot.of("s", 3, CONTENT)
    assert Snapshot.model_validate_json(snapshot.to_wire()) == snapshot
    assert b"hunter2" in snapshot.to_wire()
    assert "hunter2" not in repr(snapshot) + snapshot.model_dump_json()


def test_the_digest_covers_the_content_not_the_version() -> None:
    assert Snapshot.of("s", 1, CONTENT).digest == Snapshot.of("s", 2, CONTENT).digest == CONTENT.digest
    changed = CONTENT.model_copy(update={"tunnels": (TUNNEL.model_copy(update={"private_key": Secret("other")}),)})
    assert changed.digest != CONTENT.digest
    assert Content.model_validate_json(changed.to_wire()).digest == changed.digest


def test_a_copy_of_a_repository_with_other_accounts_is_written_anew() -> None:
    before = REPOSITORIES[0]
    assert b"zoe" in before.wire
    after = before.model_copy(update={"accounts": ()})
    assert RepositorySpec.model_validate_json(after.wire) == after
    assert b"zoe" not in after.wire


def test_what_has_its_default_does_not_travel() -> None:
    """So a digest stays when a later release adds a field."""
    assert b'"startup"' not in CONTENT.to_wire()
    assert b'"path"' not in CONTENT.to_wire()
    snapshot = Snapshot.of("s", 1, CONTENT)
    assert b'"protocol"' in snapshot.to_wire()
    assert b'"stopped"' not in snapshot.to_wire()
    assert Content.model_validate_json(CONTENT.to_wire()).digest == CONTENT.digest


@pytest.mark.parametrize(
    "content",
    [
        Content(),
        CONTENT,
        Content(repositories=REPOSITORIES),
        Content(repositories=REPOSITORIES[:1]),
        Content(listeners=(LISTENER,), tunnels=(TUNNEL,), repositories=REPOSITORIES),
    ],
)
def test_it_is_the_same_as_if_it_were_written_in_one_piece(content: Content) -> None:
    """Digests of versions that were made by any release depend on it."""
    assert content.to_wire() == content.model_dump_json(context=REVEAL, exclude_defaults=True).encode()
    snapshot = Snapshot.of("s", 1, content).model_copy(update={"stopped": ("l1",), "drained": True})
    assert Snapshot.model_validate_json(snapshot.to_wire()) == snapshot


def test_what_a_repository_keeps_for_the_wire_shows_nowhere() -> None:
    kept, fresh = REPOSITORIES[0].model_copy(), REPOSITORIES[0].model_copy()
    assert b"unter3" in kept.wire
    assert kept == fresh
    assert "unter3" not in repr(kept) + kept.model_dump_json() + repr(kept.model_dump())


def test_lookup_by_id() -> None:
    snapshot = Snapshot.of("s", 1, CONTENT)
    assert snapshot.listener("l1") == LISTENER
    assert snapshot.tunnel("t1") == TUNNEL
    assert snapshot.listener("t1") is None
    assert snapshot.tunnel("l1") is None


def test_a_target_is_tried_at_its_first_address_first() -> None:
    other = Address(host="second", port=2)
    spec = TargetSpec(id="t", name="t", host="first", port=1, host_keys=("k",), alternates=(other,))
    assert spec.addresses == (Address(host="first", port=1), other)


def test_versions_count_from_one() -> None:
    with pytest.raises(ValidationError):
        Snapshot.of("s", 0, CONTENT)
