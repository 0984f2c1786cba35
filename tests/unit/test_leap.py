"""Leaps of which nobody knows the other."""

from __future__ import annotations

from itertools import combinations, product

from dualjoe.leap import LEAP, leap
from hypothesis import given, strategies

PAIR = (("pc-a", "pc-b"), ("pc-b", "pc-a"))
WAYS = list(product(PAIR, (False, True)))
EPOCHS = strategies.integers(0, 10**9)


@given(EPOCHS, EPOCHS, strategies.sampled_from(list(combinations(WAYS, 2))))
def test_two_leaps_never_meet_nor_do_the_terms_that_follow(one: int, other: int, ways: tuple) -> None:  # type: ignore[type-arg]
    (first, first_forced), (second, second_forced) = ways
    ends = leap(one, *first, forced=first_forced), leap(other, *second, forced=second_forced)
    assert abs(ends[0] - ends[1]) >= LEAP


@given(EPOCHS, strategies.sampled_from(WAYS))
def test_a_leap_goes_far_but_not_too_far(epoch: int, way: tuple) -> None:  # type: ignore[type-arg]
    names, forced = way
    assert epoch + LEAP < leap(epoch, *names, forced=forced) <= epoch + (13 if forced else 5) * LEAP
    assert leap(leap(epoch, *names, forced=forced), *names, forced=forced) > epoch + 2 * LEAP


@given(EPOCHS, strategies.integers(0, LEAP), strategies.sampled_from(list(product(PAIR, PAIR))))
def test_an_operator_s_word_goes_beyond_a_leap_that_nobody_told_of(epoch: int, later: int, pairs: tuple) -> None:  # type: ignore[type-arg]
    by_force, by_witness = pairs
    unheard = leap(epoch + later, *by_witness, forced=False)
    assert leap(epoch, *by_force, forced=True) > unheard
