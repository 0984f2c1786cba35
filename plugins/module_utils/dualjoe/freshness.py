"""Which jobs of a machine are overdue: none has ended, or brought what is new, for too long. Pure.

A job notes the clock of its machine's boot beside its result, and the probe tells that clock as its stamp, so that a
wall clock that jumps neither hides a trouble nor makes one up. Only a result of an earlier boot is dated by the wall
clocks, and counts as a day younger than they say; otherwise a weekly job could stop for good on a machine that boots
every week. In the place of a weekly job's first result stands when it was scheduled. What was not done in this boot
counts from when T440 first heard of this boot; so nothing is overdue just because a machine, or T440's watch, has just
begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import wire
from .pair import Sighting

INTERVALS = 2  # so many intervals without a run are too many,
SLACK_SECONDS = 60.0  # and what a run itself may take
SETTLED_SECONDS = 6 * 3600.0  # after a boot, or the start of T440's watch, what was missed is done again by then
DAY_SECONDS = 86400.0
SKIPPED = 3  # runs in a row that found another one still going


@dataclass(frozen=True)
class Job:
    """A job that runs every ``interval`` seconds on both nodes, or ``on_witness``. ``brings``: what it fetches, for
    people; '' where it fetches nothing."""

    name: str
    interval: float
    brings: str = ""
    on_witness: bool = False


def overdue(jobs: Sequence[Job], sighting: Sighting, wall: float) -> dict[str, str]:
    """The troubles with the jobs' regularity on a machine, as it was heard last: a key that stays the same while one
    lasts -> its text. ``wall``: T440's wall clock, in seconds."""
    node, found = sighting.node, {}
    for job in jobs:
        told = _told(job.name, sighting.probe)
        limit = INTERVALS * job.interval + SLACK_SECONDS
        ran, captured = (_age(told, what, sighting, wall, limit) for what in ("finished", "captured"))
        skipped = told.get("skipped_in_a_row") or 0
        if ran > limit:
            found[f"late {node} {job.name}"] = (
                f"Job {job.name} on {node} has ended no run for {in_words(ran)}, and should every"
                f" {in_words(job.interval)}. See 'systemctl status cron' and 'ls /etc/cron.d' there."
            )
        elif skipped >= SKIPPED:
            found[f"late {node} {job.name}"] = (
                f"{skipped} runs in a row of job {job.name} on {node} were skipped, because another one is still going."
                f" See 'ps -ef | grep dualjoe' there."
            )
        elif job.brings and captured > limit:
            found[f"stale {node} {job.name}"] = (
                f"What {node} has of {job.brings} is {in_words(captured)} old, and should be new every"
                f" {in_words(job.interval)}. See /var/lib/dualjoe/jobs/{job.name}.json there."
            )
    return found


def captured_age(name: str, probe: Mapping[str, Any]) -> float | None:
    """How old what a job has brought is, in seconds; None where nothing was brought in this boot."""
    return _exact_age(_told(name, probe), "captured", probe)


def finished_age(name: str, probe: Mapping[str, Any], wall: float) -> float | None:
    """How long ago a job's last run ended, in seconds; by the wall clocks where that was before this boot. None where
    that is not known."""
    told = _told(name, probe)
    age = _exact_age(told, "finished", probe)
    ended = _wall_seconds(told.get("finished_at")) if age is None else None
    return age if ended is None else wall - ended


def _told(name: str, probe: Mapping[str, Any]) -> Mapping[str, Any]:
    jobs = probe.get("jobs")
    told = jobs.get(name) if isinstance(jobs, dict) else None
    return told if isinstance(told, dict) else {}


def _age(told: Mapping[str, Any], what: str, sighting: Sighting, wall: float, limit: float) -> float:
    """Seconds since a run ended, or began to capture what it brought."""
    known = (sighting.heard_at or 0.0) - (sighting.boot_since or 0.0)
    age = _exact_age(told, what, sighting.probe)
    if age is None:  # not in this boot
        age = max(known, _dated_age(told.get(f"{what}_at"), wall))
    return age if known > min(limit, SETTLED_SECONDS) else min(age, known)


def _exact_age(told: Mapping[str, Any], what: str, probe: Mapping[str, Any]) -> float | None:
    """By the clock of the machine's boot; None where it was not in this boot."""
    try:
        now = wire.Stamp.parse(str(probe.get("stamp")))
        boot = told["boot"]
        return now.nanoseconds / 1e9 - float(boot[f"{what}_seconds"]) if boot["id"] == now.boot_id else None
    except (wire.Refused, KeyError, TypeError, ValueError, OverflowError):  # no run has noted it
        return None


def _dated_age(moment: object, wall: float) -> float:
    """By the wall clocks, which may be wrong by a day."""
    then = _wall_seconds(moment)
    return 0.0 if then is None else wall - then - DAY_SECONDS


def _wall_seconds(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None


def in_words(seconds: float) -> str:
    """As an age for people."""
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * DAY_SECONDS else f"{seconds / DAY_SECONDS:.0f} days"
