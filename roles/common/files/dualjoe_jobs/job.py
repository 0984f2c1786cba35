"""What every job has: a lock against a second run, a result for the guard and for people, and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from . import locks
from .durable import write_json

RESULTS = Path("/var/lib/dualjoe/jobs")
DONE, FAILED, BUSY = 0, 1, 75
EXIT_CODES = "Exit codes: 0 done, 1 failed, 75 another run is still going."


class JobFailed(Exception):
    """The job did not do what it is for; the message says why, and what to look at."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``captured_at`` (UTC, ISO 8601) and ``generation`` are of what it brought."""

    result: str  # ok, skipped or failed
    message: str
    captured_at: str | None = None
    generation: str | None = None


def utc_now() -> str:
    """This second, UTC, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def run(name: str, lock: Path, results: Path, work: Callable[[], Outcome], wait_seconds: float = 0) -> int:
    """Do ``work`` under the job's lock and write its result down. Returns the exit code.

    A run that is still going is waited for at most ``wait_seconds``.
    """
    started_at = utc_now()
    with lock.open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, wait_seconds):
            print(f"dualjoe {name}: another run is still going", file=sys.stderr)
            return BUSY
        try:
            outcome = work()
        except (JobFailed, OSError) as error:
            outcome = Outcome("failed", str(error))
        return finish(name, results, outcome, started_at)


def finish(name: str, results: Path, outcome: Outcome, started_at: str) -> int:
    """Write down how a run ended, for the guard and for people; say a failure aloud. Returns the exit code."""
    times = {"started_at": started_at, "finished_at": utc_now()}
    write_json(results / f"{name}.json", {"job": name, **vars(outcome), **times}, mode=0o644)
    if outcome.result == "failed":
        print(f"dualjoe {name}: {outcome.message}", file=sys.stderr)
        return FAILED
    return DONE


def tell(name: str, results: Path, as_json: bool) -> None:
    """Show the last result to a program, or to a person; to cron, nothing."""
    text = (results / f"{name}.json").read_text("utf-8")
    if as_json:
        print(text, end="")
    elif sys.stdout.isatty():
        result = json.loads(text)
        print(f"{result['result']}: {result['message']}")
