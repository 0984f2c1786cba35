"""Which jobs of a node are overdue: none has ended, or brought what is new, for too long. Pure.

No wall clock is asked, so that one that jumps neither hides a trouble nor makes one up: a job notes the clock of its
node's boot beside its result, and the probe tells that clock as its stamp. What was not done in this boot counts from
when T440 first heard of this boot; so nothing is overdue just because a node, or T440's watch, has just begun.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import wire
from .pair import Sighting

INTERVALS = 2  # so many intervals without a run are too many,
SLACK_SECONDS = 60.0  # and what a run itself may take
SKIPPED = 3  # runs in a row that found another one still going


@dataclass(frozen=True)
class Job:
    """A job that runs on both nodes every ``interval`` seconds. ``brings``: what it fetches, for people; '' where it
    fetches nothing."""

    name: str
    interval: float
    brings: str = ""


def overdue(jobs: Sequence[Job], sighting: Sighting) -> dict[str, str]:
    """The troubles with the jobs' regularity on a node, as it was heard last: a key that stays the same while one
    lasts -> its text."""
    node, found = sighting.node, {}
    for job in jobs:
        told = sighting.probe.get("jobs", {}).get(job.name)
        told = told if isinstance(told, dict) else {}
        limit = INTERVALS * job.interval + SLACK_SECONDS
        ran, captured = (_age(told, what, sighting) for what in ("finished_seconds", "captured_seconds"))
        skipped = told.get("skipped_in_a_row", 0)
        if ran > limit:
            found[f"late {node} {job.name}"] = (
                f"Job {job.name} on {node} has ended no run for {_minutes(ran)}, and should every"
                f" {_minutes(job.interval)}. See 'systemctl status cron' and 'ls /etc/cron.d' there."
            )
        elif skipped >= SKIPPED:
            found[f"late {node} {job.name}"] = (
                f"{skipped} runs in a row of job {job.name} on {node} were skipped, because another one is still going."
                f" See 'ps -ef | grep dualjoe' there."
            )
        elif job.brings and captured > limit:
            found[f"stale {node} {job.name}"] = (
                f"What {node} has of {job.brings} is {_minutes(captured)} old, and should be new every"
                f" {_minutes(job.interval)}. See /var/lib/dualjoe/jobs/{job.name}.json there."
            )
    return found


def _age(told: Mapping[str, Any], what: str, sighting: Sighting) -> float:
    """Seconds since then, by the clock of the node's boot; at most as long as this boot is known here."""
    known = (sighting.heard_at or 0.0) - (sighting.boot_since or 0.0)
    try:
        now = wire.Stamp.parse(str(sighting.probe.get("stamp")))
        boot = told["boot"]
        age = now.nanoseconds / 1e9 - float(boot[what]) if boot["id"] == now.boot_id else math.inf
    except (wire.Refused, KeyError, TypeError, ValueError):  # no run has noted it
        age = math.inf
    return min(age, known)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
