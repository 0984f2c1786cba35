"""A job that is silent, skipped or brings nothing new is told of; clocks that jump, boots and moves make nothing up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from dualjoe import alerts, boot, freshness, job_results, sightings, wire
from dualjoe.freshness import Job
from dualjoe.pair import Decision, Pause, Record, Sighting
from dualjoe_jobs import job, locks
from dualjoe_jobs.job import JobFailed, Outcome
from dualjoe_watchdog import own_jobs

ROOT = Path(__file__).resolve().parents[2]
SYNC = Job("memory-sync", 300, "Joe's memory")
CHECK = Job("config-check", 60)
BOOT, OTHER_BOOT = "0" * 36, "1" * 36
DAY = 86400.0


def sighting(up: float, known: float, **jobs: Any) -> Sighting:
    """A node that has been up for ``up`` seconds, of which T440 has known ``known``."""
    probe = {"boot_id": BOOT, "stamp": f"{BOOT}:{round(up * 1e9)}", "fit": True, "role": "passive"}
    probe["jobs"] = {name.replace("_", "-"): told for name, told in jobs.items()}
    return Sighting("pc-b", heard_at=1000 + known, heard_since=1000, probe=probe, boot_since=1000)


def run_at(finished: float, captured: float | None = None, boot: str = BOOT, **more: Any) -> dict[str, Any]:
    clock = {"id": boot, "finished_seconds": finished, "captured_seconds": captured}
    return {"result": "ok", "boot": clock, "skipped_in_a_row": 0, **more}


def troubles(*seen: Sighting, jobs: tuple[Job, ...] = (SYNC,), pause: Pause | None = None) -> dict[str, str]:
    decision = Decision(Record(7, "pc-a", pause=pause), "home", "")
    return alerts.standing(decision, {one.node: one for one in seen}, 2, jobs)


def news(
    told: Mapping[str, alerts.Told], found: Mapping[str, str], now: float, reminder: float
) -> tuple[dict[str, alerts.Told], list[str]]:
    """As alerts.news, with the words alone."""
    known, notices = alerts.news(told, found, now, reminder)
    return known, [notice.text.partition(" Runbook: ")[0] for notice in notices]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (run_at(9900, 9900), None),
        (run_at(9341, 9341), None),  # two intervals and the slack are not over
        (run_at(9339, 9339), "late"),
        (run_at(9900, 9339), "stale"),  # it runs, and brings nothing
        (run_at(9900, None), "stale"),  # it never brought anything in this boot
        (run_at(9900, 9900, skipped_in_a_row=2), None),
        (run_at(9900, 9900, skipped_in_a_row=3), "late"),
        (run_at(9999, 9999, boot=OTHER_BOOT), "late"),  # a clock of another boot says nothing
        ({"result": "ok"}, "late"),  # of an older version, and never run since
        ({"result": "ok", "boot": "nonsense"}, "late"),
        ({"result": "ok", "boot": {"id": BOOT, "finished_seconds": "x"}}, "late"),
        ("nonsense", "late"),
    ],
)
def test_what_is_overdue_is_told(told: Any, found: str | None) -> None:
    seen = troubles(sighting(10000, 10000, memory_sync=told))
    assert list(seen) == ([f"{found} pc-b memory-sync"] if found else [])


def test_a_job_that_never_ran_is_told_and_says_what_to_do() -> None:
    (text,) = troubles(sighting(10000, 661)).values()
    assert text.startswith("Job memory-sync on pc-b has ended no run for 11 min, and should every 5 min. See ")


@pytest.mark.parametrize("told", [None, run_at(9000, 9000, boot=OTHER_BOOT), run_at(100, 100)])
def test_nothing_is_overdue_right_after_a_boot_or_a_start_of_the_watchdog(told: Any) -> None:
    seen = {"memory_sync": told} if told else {}
    assert troubles(sighting(10000, 659, **seen)) == {}


def test_a_job_that_fetches_nothing_is_only_to_run() -> None:
    assert troubles(sighting(10000, 10000, config_check=run_at(9990)), jobs=(CHECK,)) == {}
    assert list(troubles(sighting(10000, 10000, config_check=run_at(9800)), jobs=(CHECK,))) == [
        "late pc-b config-check"
    ]


def test_the_age_of_data_is_told_beside_the_failure() -> None:
    failing = run_at(9990, 8000, result="failed", message="no route")
    found = troubles(sighting(10000, 10000, memory_sync=failing))
    assert list(found) == ["job pc-b memory-sync", "stale pc-b memory-sync"]
    assert found["stale pc-b memory-sync"].startswith("What pc-b has of Joe's memory is 33 min old")


def test_every_trouble_has_an_end() -> None:
    known, texts = news({}, troubles(sighting(10000, 10000, memory_sync=run_at(9000, 9000))), 0, 3600)
    assert len(texts) == 1
    known, texts = news(known, troubles(sighting(10100, 10100, memory_sync=run_at(10050, 9000))), 100, 3600)
    assert texts[1:] == ["Over: Job memory-sync on pc-b runs as it should again."]
    known, texts = news(known, troubles(sighting(10200, 10200, memory_sync=run_at(10150, 10150))), 200, 3600)
    assert texts == ["Over: what job memory-sync brings to pc-b is new again."]


def test_a_pause_hides_nothing_and_makes_nothing_up() -> None:
    pause = Pause(2e9, "ada", "a new switch")
    well = sighting(10000, 10000, memory_sync=run_at(9900, 9900))
    assert list(troubles(well, pause=pause)) == ["paused"]
    assert list(troubles(sighting(10000, 10000), pause=pause)) == ["paused", "late pc-b memory-sync"]


def test_a_missed_check_is_no_recovery() -> None:
    late = sighting(10000, 10000)
    for times in (1, 2):
        for _ in range(times):
            late = sightings.missed(late)
        assert "late pc-b memory-sync" in troubles(late)


def test_a_boot_is_known_since_its_first_probe_also_after_a_silence() -> None:
    seen = sightings.heard(Sighting("pc-b"), {"boot_id": BOOT}, 10, 2)
    seen = sightings.heard(seen, {"boot_id": BOOT}, 20, 2)
    for _ in range(3):
        seen = sightings.missed(seen)
    seen = sightings.heard(seen, {"boot_id": BOOT}, 90, 2)
    assert (seen.boot_since, seen.heard_since) == (10, 90)
    assert sightings.heard(seen, {"boot_id": OTHER_BOOT}, 95, 2).boot_since == 95


# What the jobs write down


class Node:
    """A folder of results, and clocks that a test sets."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.results = place / "jobs"
        self.results.mkdir()
        self.up = 10000.0
        self.wall = "2026-11-24T06:00:00Z"
        self.boot = place / "boot_id"
        self.boot.write_text(f"{BOOT}\n")
        monkeypatch.setattr(job, "BOOT_ID", self.boot)
        monkeypatch.setattr(job, "boot_seconds", lambda: self.up)
        monkeypatch.setattr(job, "utc_now", lambda: self.wall)

    def run(self, outcome: Outcome | Exception, seconds: float = 5) -> int:
        def work() -> Outcome:
            self.up += seconds
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return job.run("memory-sync", self.place / "lock", self.results, work)

    def troubles(self) -> list[str]:
        found = troubles(sighting(self.up, 10000, memory_sync=job_results.read(self.place / "jobs").get("memory-sync")))
        return [key for key in found if not key.startswith("job ")]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


FETCHED = Outcome("ok", "3 files", "2026-11-24T06:00:00Z", "20261124T060000Z")


@pytest.mark.parametrize("wall", ["2026-11-25T06:00:00Z", "2026-11-23T06:00:00Z"])
def test_a_clock_that_jumps_a_day_neither_hides_nor_makes_up_anything(node: Node, wall: str) -> None:
    assert node.run(FETCHED) == job.DONE
    node.wall = wall
    assert node.troubles() == []
    node.run(FETCHED)
    assert node.troubles() == []
    node.up += 661
    assert node.troubles() == ["late pc-b memory-sync"]


def test_while_the_guard_does_not_say_which_boot_it_is_no_job_fails(node: Node) -> None:
    node.boot.unlink()
    assert node.run(FETCHED) == job.DONE
    node.up += 661
    assert node.troubles() == ["late pc-b memory-sync"]


def test_data_is_as_old_as_the_last_run_that_brought_some(node: Node) -> None:
    node.run(FETCHED)
    for minutes in range(5, 15, 5):
        node.up += 295
        assert node.run(JobFailed("no route")) == job.FAILED
        assert node.troubles() == [], f"after {minutes} min"
    node.up += 61
    assert node.troubles() == ["stale pc-b memory-sync"]
    node.run(FETCHED)
    assert node.troubles() == []


def test_it_is_as_old_as_the_begin_of_that_run(node: Node) -> None:
    node.run(FETCHED, seconds=240)
    assert job_results.read(node.results)["memory-sync"]["boot"] == {
        "id": BOOT,
        "finished_seconds": 10240,
        "captured_seconds": 10000,
    }


@pytest.mark.parametrize("outcome", [Outcome("skipped", "this node is active"), Outcome("failed", "x", "then", "one")])
def test_a_node_that_was_active_and_one_that_could_not_publish_have_what_there_is(node: Node, outcome: Outcome) -> None:
    node.run(JobFailed("no route"))
    node.run(outcome)
    assert node.troubles() == []


def test_what_another_boot_has_captured_is_not_taken_over(node: Node) -> None:
    node.run(FETCHED)
    node.boot.write_text(f"{OTHER_BOOT}\n")
    node.run(JobFailed("no route"))
    assert json.loads((node.results / "memory-sync.json").read_text())["boot"]["captured_seconds"] is None


@pytest.mark.parametrize("nonsense", ["", "{", "[]", '{"boot": 5}', '{"boot": {"id": "x"}}'])
def test_a_result_that_makes_no_sense_is_replaced(node: Node, nonsense: str) -> None:
    (node.results / "memory-sync.json").write_text(nonsense)
    node.run(JobFailed("no route"))
    assert job_results.read(node.results)["memory-sync"]["message"] == "no route"


def test_skipped_runs_are_counted_until_one_ends(node: Node) -> None:
    node.run(FETCHED)
    with (node.place / "lock").open("a") as going:
        assert locks.take(going.fileno(), locks.EXCLUSIVE, 0)
        for number in (1, 2, 3):
            assert node.troubles() == []
            assert node.run(FETCHED) == job.BUSY
            assert job_results.read(node.results)["memory-sync"]["skipped_in_a_row"] == number
        assert node.troubles() == ["late pc-b memory-sync"]
    node.run(FETCHED)
    assert (node.troubles(), job_results.read(node.results)["memory-sync"]["skipped_in_a_row"]) == ([], 0)


@pytest.mark.parametrize(
    "content", ["", "[7]", '{"message": ' + "[" * 99999, "7" * 9999, "\udcff"], ids=lambda text: text[:20]
)
def test_a_result_that_is_none_is_told_as_such_whatever_stands_there(tmp_path: Path, content: str) -> None:
    (tmp_path / "backup.json").write_text(content, "utf-8", "surrogateescape")
    found = own_jobs.look(tmp_path, 20000, 1).probe["jobs"]
    assert found["backup"]["result"] == "unreadable"


@pytest.mark.parametrize("levels", [30, 400, 520, 600, 900])
def test_a_result_that_is_nested_deep_is_unreadable(tmp_path: Path, levels: int) -> None:
    """Whoever passes it on nests it deeper, and has less room for that than the first reader."""
    for number, (opens, closes) in enumerate([("[", "]"), ('{"a": ', "}")]):
        nested = opens * levels + "7" + closes * levels
        (tmp_path / f"backup{number}.json").write_text('{"result": "ok", "counts": ' + nested + "}")
    found = own_jobs.look(tmp_path, 20000, 1).probe["jobs"]
    assert [found[name]["result"] for name in ("backup0", "backup1")] == ["unreadable"] * 2
    assert "nested too deep" in found["backup0"]["message"]


def test_a_result_with_parts_of_parts_is_told_as_it_is(tmp_path: Path) -> None:
    result = {"result": "ok", "counts": {"a": [{"b": [{"c": [7]}]}]}}
    (tmp_path / "backup.json").write_text(json.dumps(result))
    assert own_jobs.look(tmp_path, 20000, 1).probe["jobs"]["backup"] == {**result, "skipped_in_a_row": 0}


# What is weekly, and what T440 itself does

DRILL = Job("drill", 7 * DAY, on_witness=True)
VERIFY = Job("backup-verify", DAY)
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


def days_ago(days: float, boot: str = OTHER_BOOT) -> dict[str, Any]:
    """A result of so many days before NOON."""
    return run_at(100, boot=boot, finished_at=(NOON - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ"))


@pytest.mark.parametrize(
    ("told", "known", "late"),
    [
        (days_ago(1.5), 7 * 3600, False),
        (days_ago(2.9), 7 * 3600, False),  # the clocks may be wrong by a day
        (days_ago(3.1), 7 * 3600, True),
        (days_ago(3.1), 5 * 3600, False),  # after a boot, what was missed has its time
        (days_ago(-400), 7 * 3600, False),  # a clock that was wrong: it counts from the boot
        (days_ago(-400), 2 * DAY + 61, True),
        (days_ago(400, BOOT), 7 * 3600, False),  # the clock of this boot knows better
        (None, 2 * DAY, False),
        (None, 2 * DAY + 61, True),
        ({"finished_at": "some day"}, 7 * 3600, False),
    ],
)
def test_a_machine_that_boots_each_day_is_told_of_a_daily_job_that_stopped(told: Any, known: float, late: bool) -> None:
    seen = sighting(known, known, **({"backup_verify": told} if told else {}))
    found = freshness.overdue((VERIFY,), seen, NOON.timestamp())
    assert list(found) == (["late pc-b backup-verify"] if late else [])


def test_a_watch_that_has_just_begun_learns_of_old_neglect_some_hours_later() -> None:
    neglected = sighting(20 * DAY, 5 * 3600, drill=run_at(0))
    assert freshness.overdue((DRILL,), neglected, 0) == {}
    (text,) = freshness.overdue((DRILL,), replace(neglected, heard_at=1000 + 7 * 3600), 0).values()
    assert text.startswith("Job drill on pc-b has ended no run for 20 days, and should every 7 days.")


@pytest.mark.parametrize(("days", "late"), [(14.9, False), (15.1, True)])
def test_a_drill_that_never_ran_is_missed_on_a_machine_that_boots_each_day(days: float, late: bool) -> None:
    """By what role backup puts in place of its first result; see roles/backup/vars/main.yml."""
    role = yaml.safe_load((ROOT / "roles/backup/vars/main.yml").read_text())["_backup_drill_scheduled"]
    told = {**role, "finished_at": days_ago(days)["finished_at"], "skipped_in_a_row": 0}
    decision = Decision(Record(7, "pc-a"), "home", "")
    witness = Sighting("T440", heard_at=7 * 3600, boot_since=0, probe={"jobs": {"drill": told}})
    found = alerts.standing(decision, {}, 2, (DRILL,), witness, NOON.timestamp())
    assert list(found) == (["late T440 drill"] if late else [])


def test_each_machine_is_asked_for_its_own_jobs(tmp_path: Path) -> None:
    (tmp_path / "drill.json").write_text(json.dumps({"result": "failed", "message": "box notes has 3 rows, not 4"}))
    since = 10 * DAY
    witness = own_jobs.look(tmp_path, since + 15 * DAY, since)
    decision = Decision(Record(7, "pc-a"), "home", "")
    found = alerts.standing(decision, {"pc-b": sighting(1e6, 1e6)}, 2, (DRILL, VERIFY), witness)
    assert list(found) == ["late pc-b backup-verify", "job T440 drill", "late T440 drill"]
    assert found["job T440 drill"].startswith("Job drill on T440 failed: box notes has 3 rows, not 4.")


def test_what_a_job_on_t440_has_noted_is_of_t440_s_own_boot(node: Node) -> None:
    node.boot.write_text(boot.this() + "\n")
    node.run(FETCHED)
    witness = own_jobs.look(node.results, 10000 + 2 * 300, 0)
    sync = Job("memory-sync", 300, on_witness=True)
    assert freshness.overdue((sync,), witness, 0) == {}
    assert list(freshness.overdue((sync,), own_jobs.look(node.results, 10666, 0), 0)) == ["late T440 memory-sync"]


def test_a_watch_that_begins_anew_takes_no_lateness_for_over() -> None:
    """Its patience with jobs of before is no proof that one has run."""
    late = sighting(10000, 10000, memory_sync=run_at(9000, 9000))
    before = troubles(late)
    decision, own = Decision(Record(7, "pc-a"), "home", ""), Sighting("T440", heard_at=0.0)

    def lasting(seen: Sighting, decision: Decision = decision) -> set[str]:
        return set(alerts.lasting(before, decision, {"pc-b": seen}, 2, (SYNC,), own, wall=0.0))

    assert set(before) == {"late pc-b memory-sync"}
    assert lasting(Sighting("pc-b")) == set(before), "it was not heard yet"
    assert lasting(Sighting("pc-b", failures=9)) == set(before), "nor is its silence the end"
    new = sighting(10100, 10, memory_sync=run_at(9000, 9000))
    assert troubles(new) == {}
    assert lasting(new) == set(before)
    ran = sighting(10100, 10, memory_sync=run_at(10090, 10090))
    assert lasting(ran, replace(decision, situation="settling")) == set(before)
    assert lasting(ran) == set()


# Warnings


def test_a_warning_is_told_once_whoever_tells_it_and_so_is_its_end() -> None:
    warned = run_at(9990, 9990, warnings={"uncovered-volumes": "volumes on T440 that no backup covers: geese."})
    decision = Decision(Record(7, "pc-a"), "home", "")
    a, b = replace(sighting(10000, 10000, backup=warned), node="pc-a"), sighting(10000, 10000, backup=warned)
    known, texts = news({}, alerts.standing(decision, {"pc-a": a, "pc-b": b}, 2), 0, 3600)
    assert texts == ["Job backup warns: volumes on T440 that no backup covers: geese."]
    well = sighting(10000, 10000, backup=run_at(9990, 9990, warnings={}))
    known, texts = news(known, alerts.standing(decision, {"pc-a": a, "pc-b": well}, 2), 10, 3600)
    assert texts == []
    known, texts = news(known, alerts.standing(decision, {"pc-b": well}, 2), 20, 3600)
    assert texts == ["Over: job backup warns no more of uncovered-volumes."]


def test_a_warning_of_a_node_s_own_snapshots_names_the_node_and_each_one_is_told() -> None:
    """Both are to look at their disks, or to be told that a drop is right."""
    warned = run_at(9990, 9990, warnings={"repaired": "look at this node's disk."})
    decision = Decision(Record(7, "pc-a"), "home", "")
    a, b = replace(sighting(10000, 10000, backup=warned), node="pc-a"), sighting(10000, 10000, backup=warned)
    known, texts = news({}, alerts.standing(decision, {"pc-a": a}, 2), 0, 3600)
    assert texts == ["Job backup on pc-a warns: look at this node's disk."]
    known, texts = news(known, alerts.standing(decision, {"pc-a": a, "pc-b": b}, 2), 10, 3600)
    assert texts == ["Job backup on pc-b warns: look at this node's disk."]
    _, texts = news(known, alerts.standing(decision, {"pc-b": b}, 2), 20, 3600)
    assert texts == ["Over: job backup warns no more of repaired on pc-a."]


@pytest.mark.parametrize("nonsense", [None, [], "geese", 5])
def test_warnings_that_make_no_sense_are_none(nonsense: Any) -> None:
    assert troubles(sighting(10000, 10000, backup=run_at(9990, 9990, warnings=nonsense)), jobs=()) == {}


def test_a_run_leaves_its_warnings(node: Node) -> None:
    node.run(Outcome("ok", "3 files", "2026-11-24T06:00:00Z", warnings={"dropped": "less than before"}))
    assert job_results.read(node.results)["memory-sync"]["warnings"] == {"dropped": "less than before"}


@pytest.mark.parametrize("text", ["x" * 70_000, "\U0001f986" * 6_000, "\udcff" * 20_000])
def test_a_long_result_does_not_make_a_machine_silent(node: Node, text: str) -> None:
    """A probe is one line. What a result tells may come from another machine, or be names that a container chose."""
    warnings = dict.fromkeys(("dropped", "unsteady", "uncovered-containers", "uncovered-volumes"), text)
    node.run(Outcome("ok", text, "2026-11-24T06:00:00Z", warnings=warnings))
    told = job_results.read(node.results)
    assert len(json.dumps(told)) < wire.MAX_LINE_BYTES / 15
    assert told["memory-sync"]["result"] == "ok"
    assert told["memory-sync"]["message"][:30] == text[:30]
    assert set(told["memory-sync"]["warnings"]) == set(warnings)


def test_a_result_that_cannot_be_made_short_is_told_as_such(node: Node) -> None:
    (node.results / "memory-sync.json").write_text(json.dumps({"result": "ok", "more": list(range(10_000))}))
    told = job_results.read(node.results)["memory-sync"]
    assert (told["result"], "is too long" in told["message"]) == ("unreadable", True)
