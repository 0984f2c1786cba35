"""A few histories of faults, and that the simulation can fail. `make simulate` explores many more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import histories
import pytest

# Where each mutant shows, as `make simulate-mutants` found.
CAUGHT_BY = {
    "the witness does not wait for the lease's end": 2,
    "no margin for a guard that hangs": 110,
    "the witness does not wait after its own start": 3,
    "a lease counts from when it arrives, not from its stamp": 55,
    "a grant of any epoch is taken": 221,
    "the guard does not keep the deadline": 1,
    "the gateway does not stop with its guard": 2,
    "the gateway is enabled at boot": 0,
    "a revoke is answered before the gateway is gone": 0,
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


@pytest.mark.parametrize("seed", range(12))
def test_never_two_and_always_one_again(seed: int) -> None:
    history = histories.explore(seed)
    assert history.violation is None, "\n".join(history.journal[-40:])
    assert any("a gateway's process" in line for line in history.journal)


def test_a_seed_is_one_history() -> None:
    assert histories.explore(5) == histories.explore(5)


def test_every_rule_has_its_history() -> None:
    assert set(CAUGHT_BY) == set(histories.MUTANTS)


@pytest.mark.parametrize("mutant", CAUGHT_BY)
def test_a_safety_rule_taken_away_is_noticed(mutant: str) -> None:
    seeds = chain([CAUGHT_BY[mutant]], range(400))  # the first one is only where to look first
    with histories.mutated(mutant):
        caught = next((seed for seed in seeds if "two gateways" in str(histories.explore(seed).violation)), None)
    assert caught is not None
    assert histories.explore(caught).violation is None
