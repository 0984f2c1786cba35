"""What each run of a job leaves, and what it makes up for."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dualjoe_jobs import job
from dualjoe_jobs.job import JobFailed, Outcome

FETCHED = Outcome("ok", "3 files", "2026-11-24T06:00:00Z", "20261124T060000Z")
FAILED = Outcome("failed", "no route")


class Runs:
    """A job that ends as it is told to, one time after another."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.outcomes: list[Outcome | Exception] = []

    def run(self, *outcomes: Outcome | Exception, **more: Any) -> int:
        self.outcomes = list(outcomes)
        return job.run("backup", self.place / "lock", self.place, self._work, **more)

    def _work(self) -> Outcome:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def left(self) -> int:
        return len(self.outcomes)

    @property
    def message(self) -> str:
        return str(json.loads((self.place / "backup.json").read_text())["message"])


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


# Missed runs


@pytest.mark.parametrize(
    ("outcome", "ago", "again"),
    [
        (FETCHED, 3590, False),
        (FETCHED, 3600, True),
        (FETCHED, -60, True),  # a clock that was wrong
        (FAILED, 60, True),
        (None, 0, True),
    ],
)
def test_a_run_that_was_missed_is_made_up_for(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None, ago: float, again: bool
) -> None:
    if outcome is not None:
        ended = datetime.now(timezone.utc) - timedelta(seconds=ago)
        with monkeypatch.context() as then:
            then.setattr(job, "utc_now", lambda: ended.strftime("%Y-%m-%dT%H:%M:%SZ"))
            runs.run(outcome)
    assert runs.run(FETCHED, if_older_than=3600) == job.DONE
    assert runs.left == (0 if again else 1)


@pytest.mark.parametrize("nonsense", ["", "[]", '{"result": "ok"}', '{"result": "ok", "finished_at": 5}'])
def test_a_result_that_makes_no_sense_is_no_good_run(runs: Runs, nonsense: str) -> None:
    (runs.place / "backup.json").write_text(nonsense)
    runs.run(FETCHED, if_older_than=3600)
    assert runs.left == 0


def test_after_a_boot_the_others_are_waited_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_AGAIN_SECONDS", 0.0)
    assert runs.run(JobFailed("no route"), FAILED, FETCHED, if_older_than=3600) == job.DONE
    assert runs.message == "3 files"


def test_and_not_for_ever(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_TRIED_SECONDS", 0.0)
    assert runs.run(JobFailed("no route"), FETCHED, if_older_than=3600) == job.FAILED
    assert (runs.left, runs.message) == (1, "no route")


def test_a_run_of_its_own_hour_is_not_tried_again(runs: Runs) -> None:
    assert runs.run(JobFailed("no route"), FETCHED) == job.FAILED
    assert runs.left == 1
