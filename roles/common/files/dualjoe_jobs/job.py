"""What every job has: a lock against a second run, a result for the guard and for people, and exit codes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from . import locks, ping
from .durable import write_json

RESULTS = Path("/var/lib/dualjoe/jobs")
BOOT_ID = Path("/run/dualjoe/boot-id")  # the word of the guard, on T440 of the watchdog, for this boot
DONE, FAILED, BUSY = 0, 1, 75
EXIT_CODES = "Exit codes: 0 done, 1 failed, 75 another run is still going."
_TRIED_SECONDS, _AGAIN_SECONDS = 600.0, 15.0  # after a boot the network, or T440, may come later than this node


class JobFailed(Exception):
    """The job did not do what it is for; the message says why, and what to look at."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``captured_at`` (UTC, ISO 8601) and ``generation`` are of what it brought; one that failed may
    have brought something as well. ``warnings``: what is well done and yet no good, kind -> what it is and what to do;
    people are told of each kind once."""

    result: str  # ok, skipped or failed
    message: str
    captured_at: str | None = None
    generation: str | None = None
    warnings: Mapping[str, str] = field(default_factory=dict)


def utc_now() -> str:
    """This second, UTC, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def boot_seconds() -> float:
    """Seconds since boot, suspended time included: a clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def add_if_older_than(parser: argparse.ArgumentParser) -> None:
    """Let a command be asked for a run that may have been missed, as after a boot."""
    parser.add_argument(
        "--if-older-than",
        type=float,
        metavar="SECONDS",
        help="for cron after a boot: nothing is done if a run ended well so short a time ago; one that fails is tried"
        f" again for {_TRIED_SECONDS / 60:.0f} minutes",
    )


def run(
    name: str,
    lock: Path,
    results: Path,
    work: Callable[[], Outcome],
    wait_seconds: float = 0,
    *,
    if_older_than: float | None = None,
    pinged: bool = True,
) -> int:
    """Do ``work`` under the job's lock and write its result down. Returns the exit code.

    A run that is still going is waited for at most ``wait_seconds``; then this one is skipped, and counted.
    ``if_older_than``: see ``add_if_older_than``. ``pinged``: the job's ping URL hears of it; not so where somebody
    waits for this run.
    """
    started_at = utc_now()
    with lock.open("a") as held:
        if not locks.take(held.fileno(), locks.EXCLUSIVE, wait_seconds):
            with _skips(name, results).open("ab") as skips:  # one byte each: nothing is lost where two write at once
                skips.write(b".")
            return busy(name)
        if if_older_than is not None and ended_well(results / f"{name}.json", if_older_than):
            return DONE
        again_until = time.monotonic() + (0 if if_older_than is None else _TRIED_SECONDS)
        while True:
            began = boot_seconds()
            try:
                outcome = work()
            except (JobFailed, OSError) as error:
                outcome = Outcome("failed", str(error))
            if outcome.result != "failed" or time.monotonic() >= again_until:
                break
            time.sleep(_AGAIN_SECONDS)
        code = finish(name, results, outcome, started_at, began)
    if pinged:
        ping.tell(name, code == DONE)
    return code


def ended_well(result: Path, seconds: float) -> bool:
    """Whether the last run did, and less than so many seconds ago; or the first one was scheduled within them. A clock
    that was wrong says no."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        before = json.loads(result.read_text("utf-8"))
        ended = datetime.fromisoformat(str(before["finished_at"]).replace("Z", "+00:00"))
        age = (datetime.now(timezone.utc) - ended).total_seconds()
        return before["result"] in ("ok", "scheduled") and 0 <= age < seconds
    return False


def busy(name: str) -> int:
    """Say that nothing was done. Returns the exit code."""
    print(f"dualjoe {name}: another run is still going", file=sys.stderr)
    return BUSY


def finish(name: str, results: Path, outcome: Outcome, started_at: str, began: float | None = None) -> int:
    """Write down how a run ended, for the guard and for people; say a failure aloud. Returns the exit code.

    ``began``: by ``boot_seconds``. What the run brought was captured after that; what there is now is as old as the
    last run that brought something, or found that there is nothing newer.
    """
    now = boot_seconds()
    boot = _boot()
    brought = outcome.result != "failed" or outcome.captured_at is not None
    captured = (now if began is None else began) if brought else _captured_before(results / f"{name}.json", boot)
    clock = {"id": boot, "finished_seconds": round(now, 3), "captured_seconds": captured}
    times = {"started_at": started_at, "finished_at": utc_now(), "boot": clock}
    write_json(results / f"{name}.json", {"job": name, **vars(outcome), **times}, mode=0o644)
    _skips(name, results).unlink(missing_ok=True)
    if outcome.result == "failed":
        print(f"dualjoe {name}: {outcome.message}", file=sys.stderr)
        return FAILED
    return DONE


def _boot() -> str | None:
    """Which boot of the node this is; None while the guard has not said it."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None


def _captured_before(result: Path, boot: str | None) -> float | None:
    """When what there is was captured, as the run before has noted it in this boot."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        before = json.loads(result.read_text("utf-8"))["boot"]
        if before["id"] == boot and before["captured_seconds"] is not None:
            return float(before["captured_seconds"])
    return None


def _skips(name: str, results: Path) -> Path:
    """Has a byte for each run that was skipped since the last one ended."""
    return results / f"{name}.skipped"


def tell(name: str, results: Path, as_json: bool) -> None:
    """Show the last result to a program, or to a person; to cron, nothing."""
    text = (results / f"{name}.json").read_text("utf-8")
    if as_json:
        print(text, end="")
    elif sys.stdout.isatty():
        result = json.loads(text)
        print(f"{result['result']}: {result['message']}")
