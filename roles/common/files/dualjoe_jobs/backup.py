"""The job `dualjoe backup` on a node: fetch what T440 exports into a new snapshot. Silent when all is well."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import job
from .copies import Copies, name_of
from .job import Outcome
from .pull import Puller, Settings
from .rsync import Deadline

SETTINGS = Path("/etc/dualjoe/backup.json")
BACKUPS = Path("/var/lib/dualjoe/backups")


def snapshot(settings: Settings, backups: Path) -> Outcome:
    """Fetch one snapshot. Raises JobFailed."""
    copies = Copies(backups, "snapshots")
    puller = Puller(settings, copies, Deadline(settings.run_seconds), shown=sys.stdout.isatty(), recheck=True)
    copies.open()
    copies.prune(settings.keep)
    try:
        puller.ask_export()
        made = puller.fetch()
        name = name_of(made.captured_at)
        copies.keep(name)
        copies.prune(settings.keep)
    finally:
        copies.clear_stage()
    return Outcome("ok", f"{len(made.sums)} files, {made.bytes} bytes", made.captured_at, name)


def back_up(
    settings: Path = SETTINGS,
    backups: Path = BACKUPS,
    results: Path = job.RESULTS,
    if_older_than: float | None = None,
) -> int:
    """One run of the job. Returns the exit code."""
    work = lambda: snapshot(Settings.load(settings), backups)  # noqa: E731
    return job.run("backup", backups / "lock", results, work, if_older_than=if_older_than)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup", description="Fetch a snapshot of T440's data now.", epilog=job.EXIT_CODES
    )
    job.add_if_older_than(parser)
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    return back_up(if_older_than=arguments.if_older_than)
