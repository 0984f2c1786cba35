"""Dated copies that never change: snapshots of T440, generations of memory. ``current`` leads to the newest.

A copy gets its name by one rename, when it is whole and on the disk. Its name is its time, as in 20261124T060000Z.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from dualjoe.retention import Policy, kept

from .durable import sync_folder, sync_tree
from .job import JobFailed

_NAME = re.compile(r"^\d{8}T\d{6}Z$")
_FORMAT = "%Y%m%dT%H%M%SZ"


def name_of(moment: str) -> str:
    """The name of a copy made at ``moment`` (UTC, ISO 8601). Raises JobFailed."""
    name = re.sub(r"[-:]", "", moment)
    if not _is_name(name):
        raise JobFailed(f"the manifest's time is strange: {moment!r}")
    return name


def next_name(folder: Path, moment: str) -> str:
    """As name_of, but after all copies in ``folder``: also when a clock was set back, the newest has the last name."""
    name = name_of(moment)
    last = max((path.name for path in named(folder)), default="")
    if name <= last:
        name = (_time_of(last) + timedelta(seconds=1)).strftime(_FORMAT)
    return name


def _is_name(name: str) -> bool:
    try:
        return bool(_NAME.match(name) and _time_of(name))
    except ValueError:
        return False


def _time_of(name: str) -> datetime:
    return datetime.strptime(name, _FORMAT).replace(tzinfo=timezone.utc)


def named(folder: Path) -> list[Path]:
    """All copies in ``folder``, oldest first."""
    return sorted(path for path in folder.glob("*") if _is_name(path.name))


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
    def current(self) -> Path:
        return self.root / "current"

    def open(self) -> None:
        """Make the place ready: what a killed run left is cleared."""
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.clear_stage()

    def clear_stage(self) -> None:
        """Remove a stage, whoever left it."""
        if self.stage.exists():
            shutil.rmtree(self.stage)

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

    def prune(self, policy: Policy, spared: Collection[str] = ()) -> None:
        """Remove what ``policy`` does not keep, but never the current copy nor those ``spared``. Nothing is written, so
        that it works on a full disk. Moved away first: what has a name is always whole."""
        copies = named(self.folder)
        stay = kept({path.name: _time_of(path.name) for path in copies}, datetime.now(timezone.utc), policy)
        stay |= {self.current.resolve().name, *spared}
        for old in copies:
            if old.name not in stay:
                self.clear_stage()
                old.rename(self.stage)
        self.clear_stage()
