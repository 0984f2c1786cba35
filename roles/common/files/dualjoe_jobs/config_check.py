"""The job `dualjoe config check`: is the gateway's configuration good? A good one is kept, a bad one is told.

cron runs it each minute, and a unit at each change. A failure is an alert on T440.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from . import job
from .account import check_account
from .config_guard import ROOT, SETTINGS, ConfigGuard
from .config_rollback import roll_back
from .job import JobFailed, Outcome
from .live import Live

NAME = "config-check"

_AGAIN_SECONDS = 1.0
_WAIT_SECONDS = 45.0  # for a run that is still going: less than until cron's next


def check(guard: ConfigGuard, accept_losses: bool = False) -> Outcome:
    """Look at the live configuration. The caller has the lock. Raises JobFailed when it is bad, or the other node's is.

    With ``auto_rollback`` a bad one is replaced, and told of all the same.
    """
    content = guard.read()
    verdict = guard.judge(content, accept_losses)
    if not verdict.good:
        # It may have been in the midst of being written; or the gateway starts, and openclaw had no time for an answer.
        time.sleep(_AGAIN_SECONDS)
        if (again := guard.read()) != content or not verdict.sure:
            content, verdict = again, guard.judge(again, accept_losses)
    if verdict.good and content is not None:
        version = guard.keep_good(content).name
        refused = Live.load(guard.root.with_name("memory") / "live.json").refused
        if refused:
            why = "; ".join(refused.values())
            raise JobFailed(f"this node keeps its own configuration, as the other one's is bad here: {why}")
        return Outcome("ok", f"the configuration is good: version {version}", generation=version)
    if not verdict.sure:
        raise JobFailed(f"the configuration could not be checked: {verdict.summary()}")
    told = f"bad configuration in {guard.live}: {verdict.summary()}"
    if not guard.auto_rollback:
        raise JobFailed(f"{told}. It is not synced. playbooks/config_rollback.yml brings the last good one back")
    try:
        done = roll_back(guard, None).message
    except (JobFailed, OSError) as error:
        raise JobFailed(f"{told}. It is not synced, and could not be rolled back: {error}") from error
    raise JobFailed(f"{told}. By itself: {done}")


def main(
    argv: Sequence[str] | None = None,
    settings: Path = SETTINGS,
    root: Path = ROOT,
    results: Path = job.RESULTS,
) -> int:
    """The command, for cron, for systemd and for people."""
    parser = argparse.ArgumentParser(
        prog="dualjoe config check",
        description="Is the gateway's configuration good? A good one is kept as the last good version.",
        epilog=job.EXIT_CODES,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--accept-losses",
        action="store_true",
        help="what is gone since the last good version was meant to go; a placeholder is still refused",
    )
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    check_account(root)
    work = lambda: check(ConfigGuard.load(settings, root), arguments.accept_losses)  # noqa: E731
    code = job.run(NAME, root / "lock", results, work, _WAIT_SECONDS)
    if code != job.BUSY:
        job.tell(NAME, results, arguments.json)
    return code
