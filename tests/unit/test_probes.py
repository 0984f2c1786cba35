"""What a node in wrong hands may tell must end nothing of T440's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dualjoe import alerts, control, lease, metrics, overview, probes, takeover, wire
from dualjoe.leap import leap
from dualjoe.pair import Action, Pause, Policy, Record, Sighting, World
from dualjoe.timing import Timing
from dualjoe_watchdog.coordinator import Move
from dualjoe_watchdog.store import Store
from web_site import Witness, healthy, probe, site

ODD: list[Any] = [None, "x", -1, 7, True, 9.9e11, 2**53 - 1, 1e308, 10**400, float("inf"), [], [7], {}, {"state": 7}]
ODD += [{"a": []}]


def test_a_guard_s_own_answer_is_good() -> None:
    for active in (True, False):
        told = probe("pc-a", 1.8e9, active=active, time="2026-11-26T00:00:00Z", disk={"free_bytes": 7, "folder": "/"})
        assert probes.mistake(told) == ""


def test_what_t440_does_without_may_be_missing() -> None:
    assert (
        probes.mistake({"role": "passive", "epoch": 0, "gateway": {"state": "stopped"}, "unfit": [], "memory": None})
        == ""
    )


@pytest.mark.parametrize("needed", ["role", "epoch", "gateway", "unfit"])
def test_what_it_needs_may_not(needed: str) -> None:
    told = probe("pc-a", 1.8e9, active=True)
    del told[needed]
    assert f"does not tell {needed}" in probes.mistake(told)


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("epoch", "7"),
        ("epoch", 1.5),
        ("epoch", True),
        ("epoch", wire.MAX_EPOCH + 1),
        ("epoch", wire.MAX_EPOCH),
        ("term", wire.MAX_EPOCH),
        ("term", -1),
        ("promise_left", "long"),
        ("promise_left", float("inf")),
        ("promise_left", 9.9e11),
        ("paused_left", float("nan")),
        ("paused_left", 9.9e11),
        ("paused_left", -1),
        ("lease_left", []),
        ("lease_left", 10**400),
        ("jobs", []),
        ("jobs", {"backup": {"skipped_in_a_row": "many"}}),
        ("gateway", "ready"),
        ("gateway", {"state": 7}),
        ("gateway", {"state": "ready", "since": "yesterday"}),
        ("memory", {"age_seconds": "old"}),
        ("disk", {"free_bytes": None, "x": 1}),
        ("unfit", "disk"),
        ("unfit", [7]),
        ("time", "2026-11-26T00:00:00"),
    ],
)
def test_what_is_odd_is_named_in_few_words(field: str, odd: Any) -> None:
    told = probes.mistake(probe("pc-a", 1.8e9, active=True, **{field: odd}), Record(7).farthest)
    assert (field in told) == (odd != {"free_bytes": None, "x": 1})
    assert len(probes.mistake(probe("pc-a", 1.8e9, active=True, **{field: ["x" * 9999]}))) < 300


class Guard:
    """A node in wrong hands."""

    told: Mapping[str, Any]

    async def ask(self, _message: dict[str, Any], _timeout: float) -> dict[str, Any]:
        return wire.ok(**self.told)


@pytest.mark.parametrize(
    "odd",
    [
        {"jobs": []},
        {"gateway": "ready"},
        {"promise_left": "long"},
        {"epoch": "7"},
        {"epoch": 8, "paused_left": 9.9e11},
        {"epoch": wire.MAX_EPOCH},
        {"epoch": 2**52},
    ],
    ids=repr,
)
async def test_a_node_that_tells_nonsense_counts_as_silent(tmp_path: Path, odd: dict[str, Any]) -> None:
    witness, guard = Witness(tmp_path), Guard()
    healthy(witness)
    w = witness.watchdog
    w._guards = {"pc-b": guard}
    guard.told = probe("pc-b", 1.8e9, active=False, **odd)
    for _ in range(w.policy.timing.confirm_checks):
        assert await w._probe("pc-b") is None
    witness.decide()
    assert "makes no sense" in w.silences["pc-b"]
    assert "lost pc-b" in w.status()["standing"]
    guard.told = probe("pc-b", 1.8e9, active=False)
    assert await w._probe("pc-b") is not None
    assert "pc-b" not in w.silences
    witness.close()


LONGEST_HOLD = lease.hold_ns(wire.MAX_PAUSE_SECONDS, Timing().margin) / lease.SECOND


def test_the_longest_pause_of_a_node_is_good() -> None:
    assert probes.mistake(probe("pc-b", 1.8e9, active=False, paused_left=LONGEST_HOLD, promise_left=LONGEST_HOLD)) == ""


def test_a_pause_that_only_a_node_tells_of_is_none_longer_than_people_can_ask_for(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    healthy(witness)
    witness.hear("pc-b", epoch=8, paused_left=LONGEST_HOLD)
    witness.decide()
    pause = witness.watchdog.record.pause
    assert pause is not None
    assert pause.until - witness.wall == wire.MAX_PAUSE_SECONDS
    witness.close()


@pytest.mark.parametrize("until", [1e12, 9.9e11, -1e12, 1.5e300])
def test_whatever_pause_is_stored_ends_nothing(tmp_path: Path, until: float) -> None:
    store = Store(tmp_path / "witness.sqlite")
    store.save_record(Record(7, "pc-a", pause=Pause(until, "pc-b", "a lie")))
    store.close()
    witness = Witness(tmp_path)
    w = witness.watchdog
    assert alerts.standing(w.decision, w.sightings, 2)["paused"]
    assert w.status()["pause"]["until"]
    for node in ("pc-a", "pc-b"):
        witness.hear(node)
    witness.decide()
    assert w.decision.situation == ("pausing" if until > 0 else "home")
    assert w.request_resume("ada", dry_run=True) == (until > 0, "")
    witness.close()


@pytest.mark.parametrize("known", [Record(7, "pc-a"), Record(), Record(3, adopted=True)], ids=repr)
def test_a_lie_of_the_highest_epoch_that_is_believed_leaves_room_to_count_on(known: Record) -> None:
    now, a, b = 10_000.0, "pc-a", "pc-b"
    for _ in range(20):
        told = {a: probe(a, now, active=False), b: probe(b, now, active=False, epoch=known.farthest)}
        assert probes.mistake(told[b], known.farthest) == ""
        seen = {n: Sighting(n, now, now - 900, probe=told[n], fit_since=now - 900) for n in told}
        stored = takeover.decide(known, World(now, now - 900, seen), Policy(a, b)).record
        assert stored.epoch >= known.farthest
        for epoch in (stored.epoch, leap(stored.epoch, a, b, forced=False), leap(stored.epoch, b, a, forced=True)):
            honest = probe(a, now, active=True, epoch=epoch, term=epoch)
            assert probes.mistake(honest, stored.farthest) == ""
            assert wire.parse_request(wire.request("revoke", epoch=epoch), "witness").epoch == epoch
        known = stored


HALF = "a name that is no UTF-8: \udcff"  # a job may tell of such a file


@pytest.mark.parametrize("job", [{"result": "failed", "message": HALF}, {"warnings": {HALF: HALF}}], ids=list)
def test_whatever_a_job_tells_of_it_is_decided_alerted_and_stored(tmp_path: Path, job: dict[str, Any]) -> None:
    witness = Witness(tmp_path)
    healthy(witness)
    w = witness.watchdog
    told = {**w.sightings["pc-b"].probe, "jobs": {"backup": job}}
    assert probes.mistake(told, w.record.farthest) == ""
    w.sightings["pc-b"] = replace(w.sightings["pc-b"], probe=told)
    witness.decide()
    standing = w.status()["standing"]
    assert any(HALF in text for text in standing.values())
    assert len(w.store.told()) == len(standing)
    w._tell("not_ready", HALF, "pc-b")
    assert w.store.events(1)[0]["reason"] == "a name that is no UTF-8: ?"
    witness.close()


@pytest.mark.parametrize("odd", [None, [], {"age_seconds": "old"}, {"age_seconds": [7]}], ids=repr)
async def test_a_move_goes_on_whatever_the_node_tells_of_its_memory(
    tmp_path: Path, odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    witness = Witness(tmp_path)
    healthy(witness)
    w = witness.watchdog
    w._move = Move("failover", "why", "pc-a", 1.0, 1.0)
    w._granted(Action("grant", "pc-b", 7), wire.ok(epoch=7, memory=odd), 1.0)
    assert "His memory is of unknown age" in caplog.text
    witness.close()


def with_each_part(told: Mapping[str, Any], odd: Any) -> Iterator[dict[str, Any]]:
    """The same with ``odd`` in the place of one part after the other, but for what says whose it is."""
    for name, part in told.items():
        if name not in ("node", "boot_id", "stamp", "id"):
            yield {**told, name: odd}
            if isinstance(part, dict):
                yield from ({**told, name: inner} for inner in with_each_part(part, odd))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_what_passes_ends_nothing(tmp_path: Path, odd: Any) -> None:
    """Whatever a part holds: either the answer is refused, or T440 can decide, alert, sample and tell with it; and of
    what it cannot show it says so."""
    witness = Witness(tmp_path)
    healthy(witness)
    good = dict(witness.watchdog.sightings["pc-b"].probe)
    refused = 0
    for told in with_each_part(good, odd):
        if probes.mistake(told, witness.watchdog.record.farthest):
            refused += 1
            continue
        witness.watchdog.sightings["pc-b"] = replace(witness.watchdog.sightings["pc-b"], probe=told)
        witness.decide()
        witness.history.add(witness.watchdog.nodes())
        metrics.of_pair(witness.watchdog.status())
        seen = overview.of(witness.watchdog.status())
        assert seen.level != overview.OK or "why" not in seen.machines[1].facts
    witness.close()
    assert refused


async def test_the_longest_answers_of_both_nodes_blind_nobody(tmp_path: Path) -> None:
    """Each is good by itself; what the watchdog tells holds both, and their failed jobs again among the troubles."""
    failed = {"result": "failed", "message": "\u00e9" * 30_000}
    async with site(tmp_path) as (_, witness):
        for node in ("pc-a", "pc-b"):
            told = {**witness.watchdog.sightings[node].probe, "jobs": {"backup": failed}}
            assert not probes.mistake(told)
            assert len(json.dumps(told, ensure_ascii=False).encode()) < wire.MAX_LINE_BYTES
            witness.watchdog.sightings[node] = replace(witness.watchdog.sightings[node], probe=told)
        witness.decide()
        ask = partial(control.ask, "status", path=str(witness.settings.socket))
        assert sorted((await asyncio.to_thread(ask))["standing"]) == ["job pc-a backup", "job pc-b backup"]
