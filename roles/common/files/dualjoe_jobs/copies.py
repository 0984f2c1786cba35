"""Dated copies that never change: snapshots of T440, generations of memory. ``current`` leads to the newest.

A copy gets its name by one rename, when it is whole and on the disk. Its name is its time, as in 20261124T060000Z.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dualjoe import dated
from dualjoe.retention import Policy, kept

from .durable import sync_folder, sync_tree
from .job import JobFailed


def name_of(moment: str) -> str:
    """The name of a copy made at ``moment`` (UTC, ISO 8601). Raises JobFailed."""
    try:
        return dated.name_of(moment)
    except ValueError as error:
        raise JobFailed(f"the source's time is strange: {error}") from error


def next_name(folder: Path, moment: str) -> str:
    """As name_of, but not later than now: whoever says when it was made may have a clock that is ahead, and it would
    count as the newest for so long. And after all copies in ``folder``: also when a clock was set back, the newest has
    the last name."""
    name = min(name_of(moment), dated.name_at(datetime.now(timezone.utc)))
    last = max((path.name for path in named(folder)), default="")
    if name <= last:
        name = dated.name_at(dated.time_of(last) + timedelta(seconds=1))
    return name


def named(folder: Path) -> list[Path]:
    """All copies in ``folder``, oldest first."""
    return sorted(path for path in folder.glob("*") if dated.is_name(path.name))


@dataclass(frozen=True)
class Copies:
    """The copies in ``root``/``kind``. The stage, in which one is made, is of one run only: the caller has a lock."""

    root: Path
    kind: str

    @property
    def folder(self) -> Path:
        return self.root / self.kind

    @property
    def stage(self) -> Path:
        return self.root / "stage"

    @property
    def spare(self) -> Path:
        """A copy that need not be kept: the next one is made from it."""
        return self.root / "spare"

    @property
    def current(self) -> Path:
        return self.root / "current"

    def open(self) -> None:
        """Make the place ready: what a killed run left is cleared."""
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.clear_stage()
        self._clear_trash()

    def clear_stage(self) -> None:
        """Remove a stage, whoever left it."""
        if self.stage.exists():
            shutil.rmtree(self.stage)

    def begin_stage(self) -> None:
        """Make a stage. The spare copy, if there is one, is in it then, as far as it is there."""
        self.clear_stage()
        if self.spare.exists():
            self.spare.rename(self.stage)
        else:
            self.stage.mkdir(mode=0o750)

    @property
    def _trash(self) -> Path:
        return self.root / "trash"

    def _clear_trash(self) -> None:
        if self._trash.exists():
            shutil.rmtree(self._trash)

    def keep(self, name: str) -> None:
        """Give the stage its name, and let ``current`` lead there. A copy that has the name already stays."""
        sync_tree(self.stage)
        if not (self.folder / name).exists():
            self.stage.rename(self.folder / name)
            sync_folder(self.folder)
        link = self.root / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(self.kind) / name)
        link.replace(self.current)
        sync_folder(self.root)

    def surplus(self, policy: Policy, spared: Collection[str] = (), damaged: Collection[str] = ()) -> list[Path]:
        """What ``policy`` does not keep, oldest first, but never the current copy nor those ``spared``. Those
        ``damaged`` push out no others."""
        copies = named(self.folder)
        times = {path.name: dated.time_of(path.name) for path in copies}
        stay = kept(times, datetime.now(timezone.utc), policy, damaged) | {self.current.resolve().name, *spared}
        return [path for path in copies if path.name not in stay]

    def prune(self, policy: Policy, spared: Collection[str] = (), damaged: Collection[str] = ()) -> None:
        """Remove the surplus. Nothing is written, so that it works on a full disk."""
        for old in self.surplus(policy, spared, damaged):
            self.remove(old)

    def remove(self, old: Path) -> None:
        """Remove a copy. Moved away first: what has a name is always whole."""
        self._clear_trash()
        old.rename(self._trash)
        self._clear_trash()

    def recycle(self, policy: Policy, spared: Collection[str] = ()) -> None:
        """Remove the surplus, but let the newest of it be the spare copy."""
        for old in self.surplus(policy, spared):
            if self.spare.exists():
                self.remove(self.spare)
            old.rename(self.spare)
