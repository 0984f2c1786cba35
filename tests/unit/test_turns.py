"""Whoever had the time he needed has it again, whatever the others do."""

from __future__ import annotations

import random

import pytest
from dualjoe.turns import turns

MOST, BUDGET = 600.0, 1000.0


def run(took: dict[str, float], needed: dict[str, float], failed: set[str]) -> set[str]:
    """Who was saved, of containers that need so much now."""
    left, saved = BUDGET, set()
    for name, share in turns(needed, took, failed, MOST):
        may = min(MOST, left * share)
        left -= min(may, needed[name])
        if needed[name] <= may:
            saved.add(name)
    return saved


def test_the_quickest_come_first_and_those_that_failed_last() -> None:
    order = [
        name for name, _ in turns(["hung", "new", "slow", "quick"], {"slow": 9, "quick": 1, "hung": 0}, {"hung"}, MOST)
    ]
    assert order == ["quick", "slow", "new", "hung"]
    assert dict(turns(["a", "b"], {}, (), MOST)) == {"a": 0.5, "b": 1}


@pytest.mark.parametrize("seed", range(20))
def test_what_fitted_fits_again(seed: int) -> None:
    chance = random.Random(seed)
    took = {str(number): BUDGET * chance.random() ** 3 for number in range(chance.randint(1, 12))}
    while sum(took.values()) > BUDGET or max(took.values()) > MOST:
        took = {name: seconds * 0.9 for name, seconds in took.items()}
    assert run(took, took, set()) == took.keys()
    hung = {"hung", "hung too"}
    assert run(took, {**took, **dict.fromkeys(hung, 1e9)}, hung) == took.keys()


def test_one_that_failed_once_comes_back_beside_one_that_hangs_for_ever() -> None:
    assert run({"back": 300, "well": 100}, {"back": 300, "hung": 1e9, "well": 100}, {"back", "hung"}) == {
        "back",
        "well",
    }
