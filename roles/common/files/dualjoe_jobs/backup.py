"""The job `dualjoe backup run` on a node: fetch what T440 exports into a new snapshot. Silent when all is well.

A container that could not be saved at T440 keeps what was saved of it last, and the run fails although the others are
saved. One that has lost much is saved as well; then no older snapshot is pruned until a person says that it is right.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dualjoe import snapshot_warnings, snapshots
from dualjoe.names import shown
from dualjoe.retention import Policy
from dualjoe.snapshot_warnings import Size
from dualjoe.snapshots import Snapshot, SnapshotError

from . import job
from .account import check_account
from .backup_pull import Pull
from .backup_settings import BACKUPS, PATH, Settings
from .copies import Copies, named, next_name
from .held import Held
from .job import JobFailed, Outcome
from .room import check_room
from .rsync import Deadline
from .source import Source
from .verified import Verified


class _Snapshots:
    """The snapshots of this node, and which of them go."""

    def __init__(self, backups: Path, keep: Policy) -> None:
        self.copies = Copies(backups, "snapshots")
        self.keep = keep
        self.verified = Verified.load(backups)
        self.held = Held.load(backups)

    def prune(self) -> None:
        """Remove what need not stay."""
        self.copies.prune(self.keep, self._spared(), self.verified.damaged)

    def make_room(self, size: int, files: int) -> None:
        """Have room for so much more, if need be in place of the hourly snapshots, oldest first. Raises JobFailed.

        Those of the days, weeks and months stay: who has T440 could otherwise have them removed, by sending much.
        """
        least = replace(self.keep, hourly=0)
        while True:
            try:
                return check_room(self.copies.folder, size, files)
            except JobFailed as error:
                surplus = self.copies.surplus(least, self._spared(), self.verified.damaged)
                if not surplus:
                    raise JobFailed(
                        f"{error}, also without the hourly snapshots; make room, or have fewer kept (backup_keep)"
                    ) from error
                self.copies.remove(surplus[0])

    def sizes(self, before: Snapshot | None, made: Snapshot) -> dict[str, Size]:
        """What each container had in the snapshot ``before``; one that was not in it, in the last one that has it."""
        had = snapshot_warnings.sizes(before)
        back = made.containers.keys() - had.keys()
        for path in reversed(named(self.copies.folder) if back else []):
            with suppress(SnapshotError):
                older = snapshot_warnings.sizes(snapshots.load(path))
                had = {**{name: older[name] for name in back & older.keys()}, **had}
        return had

    def _spared(self) -> set[str]:
        return self.held.spared(path.name for path in named(self.copies.folder))


def snapshot(settings: Settings, backups: Path, accept_drop: bool = False) -> Outcome:
    """Fetch one snapshot. Raises JobFailed."""
    there = _Snapshots(backups, settings.source.keep)
    copies, source = there.copies, settings.source
    copies.open()
    there.prune()
    there.make_room(0, 0)
    current = copies.current.resolve().name
    t440 = Source(source.login, source.ssh, copies.root, Deadline(source.run_seconds))
    pull = Pull(t440, copies, there.make_room, there.verified.damaged.get(current, ()), sys.stdout.isatty())
    before = pull.before()
    try:
        made = pull.fetch(t440.ask_export().listed)
        wanted = {} if accept_drop else {**there.sizes(before, made), **there.held.sizes}
        drops = snapshot_warnings.dropped(made, wanted, settings.drop_percent)
        there.held = Held(there.held.until or current, {name: wanted[name] for name in drops}) if drops else Held()
        there.held.save(backups)
        name = next_name(copies.folder, made.captured_at)
        copies.keep(name)
        there.prune()
    finally:
        copies.clear_stage()
    return _outcome(made, name, snapshot_warnings.found(made, drops, settings.containers))


def _outcome(made: Snapshot, name: str, warnings: dict[str, str]) -> Outcome:
    said = f"{made.files} files, {made.bytes} bytes"
    if not made.failed:
        return Outcome("ok", said, made.captured_at, name, warnings)
    whys = "; ".join(f"{container}: {shown(why)}" for container, why in sorted(made.failed.items()))
    oldest = min(part.captured_at for part in made.containers.values())
    message = f"not saved, and kept as it was before: {whys}. All else is in {name} ({said})"
    return Outcome("failed", message, oldest, name, warnings)


def back_up(
    settings: Path = PATH,
    backups: Path = BACKUPS,
    results: Path = job.RESULTS,
    accept_drop: bool = False,
    if_older_than: float | None = None,
) -> int:
    """One run of the job. Returns the exit code. Raises JobFailed where it is another account's."""
    check_account(backups)
    return job.run(
        "backup",
        backups / "lock",
        results,
        lambda: snapshot(Settings.load(settings), backups, accept_drop),
        if_older_than=if_older_than,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup run", description="Fetch a snapshot of T440's data now.", epilog=job.EXIT_CODES
    )
    parser.add_argument("--accept-drop", action="store_true", help="what has shrunk is right: prune as usual again")
    parser.add_argument("--json", action="store_true", help="print the job's result as JSON")
    job.add_if_older_than(parser)
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    code = back_up(accept_drop=arguments.accept_drop, if_older_than=arguments.if_older_than)
    if arguments.json and code != job.BUSY:
        job.tell("backup", job.RESULTS, as_json=True)
    return code
