"""Real conversations, mutated (see `mutated`): a few thousand packets by default; `make fuzz` or
USP_FUZZ_PACKETS=1000000 plays so many."""

from __future__ import annotations

import os
import random
import resource

import pytest

from tests.fuzz.mutated import CORPUS, NAMES, conversation
from tests.fuzz.strict import Answers, Requests
from usp.sftp.relay import Relay

PACKETS = int(
    os.environ.get("USP_FUZZ_PACKETS", "1000000" if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else "6000")
)
SEED = int(os.environ.get("USP_FUZZ_SEED", "1"))
GROWTH = 64 * 1024
"""KiB that the process may grow by, however many packets."""


def test_a_strict_reader_finds_nothing_wrong_with_what_goes_out() -> None:
    before, count, number = 0, 0, 0
    while count < PACKETS:
        rng = random.Random(f"{SEED}/{number}")
        try:
            count += conversation(rng)
        except Exception as error:
            pytest.fail(f"USP_FUZZ_SEED={SEED}, conversation {number}: {type(error).__name__}: {error}")
        number += 1
        if number == 1000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before if before else 0
    print(f"{count} mutated packets in {number} conversations; grown by {grown} KiB")
    assert grown < GROWTH


@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_passes_as_it_is(name: str) -> None:
    """So the strict reader and the relay agree about what is right."""
    relay, target, partner = Relay(), Requests(), Answers()
    for line in (CORPUS / name).read_text().splitlines():
        side, _, text = line.partition(" ")
        packet = bytes.fromhex(text)
        if side == "partner":
            partner.asked(packet)
        elif packet[4] != 2:
            target.open.pop(int.from_bytes(packet[5:9], "big"))
        step = relay.from_inbound(packet) if side == "partner" else relay.from_outbound(packet)
        assert step.close is None
        target.feed(b"".join(map(bytes, step.to_outbound)))
        partner.feed(b"".join(map(bytes, step.to_inbound)))
    assert not target.open
