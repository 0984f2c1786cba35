"""What a check changes in the witness's picture of a node, and what people are told of it."""

from __future__ import annotations

from typing import Any

import pytest
from dualjoe import alerts, sightings
from dualjoe.pair import Decision, Record, Sighting

CONFIRM = 2


def probe(**more: Any) -> dict[str, Any]:
    gateway = {"state": "ready", "full_check": more.pop("full_check", "ok"), "full_checks": more.pop("full_checks", 1)}
    return {"boot_id": "one", "role": "active", "epoch": 7, "fit": True, "unfit": [], "gateway": gateway, **more}


def heard(before: Sighting, now: float, **more: Any) -> Sighting:
    return sightings.heard(before, probe(**more), now, CONFIRM)


def missed(before: Sighting, times: int) -> Sighting:
    for _ in range(times):
        before = sightings.missed(before)
    return before


NEW = Sighting("pc-a")
SEEN = heard(NEW, 10)


def test_one_missed_check_breaks_nothing() -> None:
    back = heard(missed(SEEN, 1), 30)
    assert (back.heard_at, back.heard_since, back.fit_since, back.failures) == (30, 10, 10, 0)


def test_a_confirmed_silence_starts_trust_anew() -> None:
    away = missed(SEEN, CONFIRM)
    assert not away.heard
    back = heard(away, 90)
    assert (back.heard_since, back.fit_since) == (90, 90)


def test_a_boot_that_nobody_noticed_starts_trust_anew() -> None:
    back = heard(SEEN, 20, boot_id="two")
    assert (back.heard_since, back.fit_since) == (10, 20)


def test_a_node_that_is_not_fit_has_no_time_of_fitness() -> None:
    unfit = heard(SEEN, 20, fit=False)
    assert unfit.fit_since is None
    assert heard(unfit, 30).fit_since == 30


def test_a_failed_task_costs_trust() -> None:
    assert sightings.let_down(SEEN, 50).fit_since == 50


@pytest.mark.parametrize(
    ("probes", "sick"),
    [
        ([{"full_check": "failed", "full_checks": 1}], 1),
        ([{"full_check": "failed", "full_checks": 1}] * 5, 1),
        ([{"full_check": "failed", "full_checks": n} for n in (1, 2)], 2),
        ([{"full_check": "failed", "full_checks": 1}, {"full_check": "ok", "full_checks": 2}], 0),
        ([{"full_check": "failed"}, {"role": "passive", "full_check": "failed"}], 0),
    ],
)
def test_each_failed_full_check_counts_once(probes: list[dict[str, Any]], sick: int) -> None:
    sighting = NEW
    for now, more in enumerate(probes):
        sighting = heard(sighting, now, **more)
    assert sighting.sick == sick


def standing(situation: str = "home", **nodes: Sighting) -> dict[str, str]:
    decision = Decision(Record(7, "pc-a"), situation, "the reason")
    return alerts.standing(decision, {s.node: s for s in nodes.values()}, CONFIRM)


def test_all_is_well() -> None:
    assert standing(a=SEEN, b=heard(Sighting("pc-b"), 10, role="passive")) == {}


def test_each_trouble_has_its_own_key_and_says_what_it_is() -> None:
    job = {"memory-sync": {"result": "failed", "message": "no route"}, "backup": {"result": "ok"}}
    b = heard(Sighting("pc-b"), 10, fit=False, unfit=["disk is full"], jobs=job)
    found = standing("nobody_fit", a=SEEN, b=b)
    assert set(found) == {"service", "unfit pc-b", "job pc-b memory-sync"}
    assert "the reason" in found["service"]
    assert "disk is full" in found["unfit pc-b"]
    assert "no route" in found["job pc-b memory-sync"]


def test_every_trouble_has_an_end() -> None:
    job = {"backup": {"result": "failed", "message": "no route"}}
    lost = missed(heard(Sighting("pc-b"), 10), CONFIRM)
    found = standing("alone", a=heard(SEEN, 20, fit=False, jobs=job), b=lost)
    assert set(found) == {"service", "unfit pc-a", "job pc-a backup", "lost pc-b"}
    assert {alerts.over(key) for key in found} == {
        "Over: Joe is served as he should be again.",
        "Over: pc-a could run the gateway again.",
        "Over: Job backup on pc-a works again.",
        "Over: pc-b answers T440 again.",
    }


def test_the_loss_of_the_holder_is_told_by_what_follows_from_it() -> None:
    lost_b = missed(heard(Sighting("pc-b"), 10), CONFIRM)
    assert set(standing(a=SEEN, b=lost_b)) == {"lost pc-b"}
    assert standing("silent", a=missed(SEEN, CONFIRM)) == {}


def test_a_failover_says_what_happened_and_what_to_do() -> None:
    data = {"from": "pc-a", "epoch": 8, "start_seconds": 8.04, "memory_age_seconds": 61, "published": False}
    text = alerts.moved("failover", "pc-b", "pc-a has been silent for 40 s", data)
    for part in (
        "Joe runs on pc-b (epoch 8)",
        "8.0 s",
        "silent for 40 s",
        "61 s old",
        "look at pc-a",
        "could not be published",
    ):
        assert part in text
