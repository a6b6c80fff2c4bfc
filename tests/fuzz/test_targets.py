"""The fuzz targets, for seconds: their beginnings, their corpora, and what hypothesis makes of both."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.beginnings import BEGINNINGS, beginnings
from tests.fuzz.corpora import CORPUS, corpus
from tests.fuzz.ssh_targets import TARGETS

EXAMPLES = settings().max_examples


def changed(original: bytes, at: int, cut: int, by: bytes) -> bytes:
    at %= len(original) + 1
    return original[:at] + by + original[at + cut :]


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before(name: str) -> None:
    for data in [*beginnings(name), *corpus(name)]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_anything(name: str) -> None:
    some = st.sampled_from(beginnings(name))
    near = st.builds(changed, some, st.integers(0, 5000), st.integers(0, 40), st.binary(max_size=8))

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.one_of(near, near, st.binary(max_size=200)))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


def test_each_target_has_its_beginnings() -> None:
    assert BEGINNINGS.keys() == TARGETS.keys()
    assert {file.stem for file in CORPUS.glob("*.hex")} <= TARGETS.keys()
