"""Which timings are refused, and that the roles' defaults are the library's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dualjoe.ha.plugins.filter import timing_mistakes as timing_filter
from dualjoe.timing import Timing, mistakes

ROLES = Path(__file__).parents[2] / "roles"


def test_the_defaults_are_safe() -> None:
    assert mistakes(Timing()) == []


def test_a_fast_profile_is_safe() -> None:
    fast = Timing(heartbeat=1, full_check=5, ttl=5, margin=2, retry=0.2, verb_timeout=0.8, stop=3, guard_watchdog=1)
    assert mistakes(fast) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"heartbeat": 13}, ("heartbeat", "ttl")),
        ({"margin": 3.9}, ("margin", "guard_watchdog")),
        ({"guard_watchdog": 4.5}, ("margin", "guard_watchdog")),
        ({"full_check": 9}, ("full_check", "heartbeat")),
        ({"verb_timeout": 9}, ("verb_timeout", "heartbeat")),
        ({"slack": 2.5}, ("margin", "slack")),
        ({"slack": 0.1}, ("slack", "0.25")),
        ({"stop": 31}, ("stop", "ttl")),
        ({"ttl": 0}, ("ttl",)),
        ({"margin": -1}, ("margin",)),
        ({"retry": float("nan")}, ("retry",)),
    ],
)
def test_unsafe_combinations_are_named(change: dict[str, Any], names: tuple[str, ...]) -> None:
    found = mistakes(replace(Timing(), **change))
    assert found
    assert all(name in " ".join(found) for name in names)


def test_the_fast_profile_is_safe_and_fast() -> None:
    profile = yaml.safe_load((ROLES.parent / "inventory" / "profiles" / "fast.yml").read_text())
    assert timing_filter.timing_mistakes([profile]) == []
    for variable, value in profile.items():
        specs = yaml.safe_load((ROLES / variable.partition("_")[0] / "meta" / "argument_specs.yml").read_text())
        wanted = specs["argument_specs"]["main"]["options"][variable]["type"]
        assert isinstance(value, int) or wanted == "float", variable
    given = {name: profile[variable] for name, variable in timing_filter.VARIABLES.items() if variable in profile}
    assert grant_is_sent_after(Timing(**given)) <= 3.8  # the rest of the 4 s is for the grant itself


def test_at_the_defaults_the_grant_is_sent_in_time() -> None:
    assert grant_is_sent_after(Timing()) <= 41  # of 45 s


def grant_is_sent_after(timing: Timing) -> float:
    """Seconds at most from the death of the active node, right after a renewal, while the other one answers."""
    silence = timing.heartbeat - timing.retry + timing.confirm_checks * (timing.verb_timeout + timing.retry)
    step = min(1.0, timing.heartbeat / 10)  # of the watchdog, between two decisions
    return max(timing.quiet_seconds, silence) + step + timing.verb_timeout  # one more look at the other node


def test_roles_and_library_have_the_same_defaults() -> None:
    given: dict[str, object] = {}
    for role in ("watchdog", "guard", "openclaw"):
        given.update(yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text()))
    for name, variable in timing_filter.VARIABLES.items():
        assert given[variable] == getattr(Timing(), name), variable
    assert given[timing_filter.UNIT_STOP] == Timing().stop


@pytest.mark.parametrize(
    ("machines", "says"),
    [
        ([{}, {}], None),
        ([{}, {"guard_stop_seconds": 20}], "guard_stop_seconds"),
        ([{"watchdog_ttl_seconds": "soon"}], "watchdog_ttl_seconds must be a number, not 'soon'"),
        ([{"openclaw_stop_seconds": 330}], "openclaw_stop_seconds is 330 s"),
        ([{"guard_hardware_watchdog_seconds": 4}], None),
        ([{"guard_hardware_watchdog_seconds": 10}], "guard_hardware_watchdog_seconds + guard_slack_seconds is 11 s"),
        ([{"guard_stop_seconds": 5}, {"guard_stop_seconds": 6}], "guard_stop_seconds must be the same"),
    ],
)
def test_the_filter_speaks_in_variables(machines: list[dict[str, object]], says: str | None) -> None:
    found = timing_filter.timing_mistakes(machines)
    assert (found == []) if says is None else says in found[0]
