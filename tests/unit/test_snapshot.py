"""A snapshot travels whole, its digest covers the content only, and its secrets stay out of sight."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from usp.model import Address, ListenerType
from usp.secret import Secret
from usp.snapshot import Content, ListenerSpec, Snapshot, TargetSpec, TunnelSpec

LISTENER = ListenerSpec(id="l1", name="l", address="0.0.0.0", port=22, type=ListenerType.SFTP)
TUNNEL = TunnelSpec(id="t1", name="t", address="::", port=23, private_key=Secret("hunter2"))
CONTENT = Content(listeners=(LISTENER,), tunnels=(TUNNEL,))


def test_it_survives_the_wire() -> None:
    snapshot = Snapshot.of("s", 3, CONTENT)
    assert Snapshot.model_validate_json(snapshot.to_wire()) == snapshot
    assert b"hunter2" in snapshot.to_wire()
    assert "hunter2" not in repr(snapshot) + snapshot.model_dump_json()


def test_the_digest_covers_the_content_not_the_version() -> None:
    assert Snapshot.of("s", 1, CONTENT).digest == Snapshot.of("s", 2, CONTENT).digest == CONTENT.digest()
    changed = CONTENT.model_copy(update={"tunnels": (TUNNEL.model_copy(update={"private_key": Secret("other")}),)})
    assert changed.digest() != CONTENT.digest()


def test_what_has_its_default_does_not_travel() -> None:
    """So a digest stays when a later release adds a field."""
    assert b'"startup"' not in CONTENT.to_wire()
    assert b'"path"' not in CONTENT.to_wire()
    snapshot = Snapshot.of("s", 1, CONTENT)
    assert b'"protocol"' in snapshot.to_wire()
    assert b'"stopped"' not in snapshot.to_wire()
    assert Content.model_validate_json(CONTENT.to_wire()).digest() == CONTENT.digest()


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
