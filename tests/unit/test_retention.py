"""Retention by count and age."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from dualjoe.retention import AHEAD, Policy, kept
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=timezone.utc)
DEFAULT = Policy(last=48, hourly=24, daily=14, weekly=8, monthly=0)

few = st.integers(0, 5)
policies = st.builds(Policy, last=st.integers(1, 5), hourly=few, daily=few, weekly=few, monthly=few)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001 the zone comes apart
copies = st.dictionaries(st.text(min_size=1, max_size=4), moments, min_size=1, max_size=60)


def newest(made: dict[str, datetime], number: int) -> set[str]:
    return set(sorted(made, key=lambda name: (made[name], name), reverse=True)[:number])


@settings(deadline=None, derandomize=True, database=None)
@given(copies, moments, policies)
def test_the_newest_stay_whatever_the_clock_and_the_numbers_say(
    made: dict[str, datetime], now: datetime, policy: Policy
) -> None:
    stay = kept(made, now, policy)
    assert stay
    assert newest(made, policy.last) <= stay <= made.keys()
    past = {name: time for name, time in made.items() if time - now <= AHEAD}
    assert newest(past, policy.last) <= stay, "and the newest of those that no wrong clock has dated"


@settings(deadline=None, derandomize=True, database=None)
@given(copies, moments, policies)
def test_what_stays_is_bounded_and_stays_again(made: dict[str, datetime], now: datetime, policy: Policy) -> None:
    stay = kept(made, now, policy)
    assert len(stay) <= 2 * sum(vars(policy).values())
    left = {name: made[name] for name in stay}
    assert kept(left, now, policy) == stay, "pruning twice removes no more than once"


@settings(deadline=None, derandomize=True, database=None)
@given(copies, moments, policies)
def test_a_copy_from_the_future_pushes_out_no_other(made: dict[str, datetime], now: datetime, policy: Policy) -> None:
    past = {name: time for name, time in made.items() if time - now <= AHEAD}
    assert kept(past, now, policy) <= kept(made, now, policy)


def test_a_month_of_five_minutes() -> None:
    """What a user finds at its end: four hours of every change, a day of hours, two weeks of days, and the weeks."""
    made: dict[str, datetime] = {}
    now = NOW
    for _ in range(30 * 24 * 12):
        now += timedelta(minutes=5)
        made[now.isoformat()] = now
        stay = kept(made, now, DEFAULT)
        made = {name: made[name] for name in stay}
        assert len(made) <= 48 + 24 + 14 + 8
    ages = sorted(now - time for time in made.values())
    assert ages[:48] == [timedelta(minutes=5 * number) for number in range(48)]
    for hours in range(24):
        assert any(abs(age - timedelta(hours=hours)) < timedelta(hours=1) for age in ages)
    for days in range(14):
        assert any(abs(age - timedelta(days=days)) < timedelta(days=1) for age in ages)
    assert ages[-1] > timedelta(days=23), "the last of the first week"


@settings(deadline=None, derandomize=True, database=None)
@given(copies, moments, policies, st.randoms(use_true_random=False))
def test_a_damaged_copy_pushes_out_no_good_one(
    made: dict[str, datetime], now: datetime, policy: Policy, chance: Random
) -> None:
    damaged = {name for name in sorted(made) if chance.random() < 0.3}
    stay = kept(made, now, policy, damaged)
    good = {name: time for name, time in made.items() if name not in damaged}
    assert newest(good, policy.last) <= stay, "so many good ones stay"
    assert kept(good, now, policy) <= stay, "of each tier as well"
    assert kept(made, now, policy) <= stay, "and a damaged one no shorter than if it were good"
    assert len(stay) <= 4 * sum(vars(policy).values())
    assert kept({name: made[name] for name in stay}, now, policy, damaged) == stay


def test_a_month_of_hours_with_some_damaged() -> None:
    """The tiers of a backup, pruned every hour; verification finds each twentieth snapshot damaged, a day later."""
    policy = Policy(last=3, hourly=24, daily=7, weekly=4, monthly=3)
    made: dict[str, datetime] = {}
    damaged: set[str] = set()
    now = NOW
    for hour in range(45 * 24):
        now += timedelta(hours=1)
        made[now.isoformat()] = now
        if hour % 20 == 0 and (name := (now - timedelta(days=1)).isoformat()) in made:
            damaged.add(name)
        stay = kept(made, now, policy, damaged)
        made = {name: made[name] for name in stay}
    good = sorted(time for name, time in made.items() if name not in damaged)
    assert good[-3:] == [now - timedelta(hours=hours) for hours in (2, 1, 0)]
    for tier, days in ((range(24), 1 / 24), (range(7), 1), (range(4), 7)):
        for number in tier:
            age = timedelta(days=days) * number
            assert any(abs(now - time - age) < timedelta(days=days) for time in good), (days, number)
    assert {time.month for time in good} >= {11, 12, 1}


def test_the_last_of_each_period_stays() -> None:
    made = {
        f"{day}-{hour}": datetime(2026, 11, day, hour, tzinfo=timezone.utc) for day in (1, 9, 17) for hour in (1, 5)
    }
    assert kept(made, NOW, Policy(last=1, daily=2)) == {"17-5", "9-5"}
    assert kept(made, NOW, Policy(last=1, weekly=9)) == {"17-5", "9-5", "1-5"}
    assert kept(made, NOW, Policy(last=1, monthly=9)) == {"17-5"}
    assert kept(made, NOW, Policy(last=1, hourly=9)) == made.keys()


def test_a_pair_that_made_none_for_years_loses_none() -> None:
    made = {str(day): datetime(2020, 1, day, tzinfo=timezone.utc) for day in range(1, 8)}
    assert kept(made, NOW, Policy(last=1, daily=7)) == made.keys()


def test_of_nothing_nothing_stays() -> None:
    assert kept({}, NOW, DEFAULT) == set()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (48, "must say how many of 'last'"),
        ({}, "must say how many of 'last'"),
        ({"last": 3, "yearly": 1}, "must say how many of 'last'"),
        ({"last": 0}, "last is 0"),
        ({"last": True}, "last is True"),
        ({"last": 3, "daily": -1}, "daily is -1"),
        ({"last": 3, "daily": "7"}, "daily is '7'"),
    ],
)
def test_numbers_that_cannot_work_are_told(raw: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Policy.parse(raw)
