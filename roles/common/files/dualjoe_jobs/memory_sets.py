"""A set of memory: a folder of the gateway's, and rsync's filters that choose from it.

The same filters serve in both directions, so what they leave out is never read, overwritten or deleted.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import databases

from . import rsync
from .job import JobFailed
from .rsync import Deadline
from .sqlite_copy import copy_sqlite

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_FILTER = re.compile(r"^[+-] \S.*$")  # rsync knows more kinds, some of which read files


@dataclass(frozen=True)
class MemorySet:
    """``path`` is in the live tree; a copy of the set lies in a folder called ``name``."""

    name: str
    path: Path
    filters: Sequence[str]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> MemorySet:
        """From decoded settings. Raises KeyError, TypeError or ValueError."""
        made = cls(str(raw["name"]), Path(raw["path"]), [str(rule) for rule in raw["filters"]])
        if not _NAME.match(made.name):
            raise ValueError(f"'{made.name}' is no name for a set")
        if not made.path.is_absolute():
            raise ValueError(f"{made.path} is no absolute path")
        if bad := [rule for rule in made.filters if not _FILTER.match(rule)]:
            raise ValueError(f"a filter must begin with '+ ' or '- ': {bad[0]!r}")
        return made

    def _chosen(self) -> list[str]:
        return ["--prune-empty-dirs", *(f"--filter={rule}" for rule in self.filters)]

    def capture(self, tree: Path, like: Path, deadline: Deadline) -> None:
        """Copy the live set into ``tree``; files that ``like`` has as well are shared with it. Raises JobFailed."""
        target, before = tree / self.name, like / self.name

        def begin() -> None:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(mode=0o750)

        begin()
        if not self.path.is_dir():  # nothing has been remembered here
            return
        share = [f"--link-dest={before.resolve()}"] if before.is_dir() else []
        # Links are copied as such, for the manifest to refuse: what they lead to would be forgotten in silence.
        options = ["-rltpc", "--chmod=D0750,F0640", *share, *self._chosen()]
        rsync.copy([*options, f"{self.path}/", f"{target}/"], deadline, begin)
        for copy in [path for path in target.rglob("*") if databases.is_database(path)]:
            self._recapture(copy, self.path / copy.relative_to(target), deadline)

    def _recapture(self, copy: Path, live: Path, deadline: Deadline) -> None:
        """Take a database from the live one in one piece, instead of byte by byte."""
        for name in (copy.name, *(copy.name + sidecar for sidecar in databases.SIDECARS)):
            copy.with_name(name).unlink(missing_ok=True)
        try:
            copy_sqlite(live, copy, deadline.left)
        except sqlite3.Error as error:
            raise JobFailed(f"{live}: {error}") from error

    def differs(self, tree: Path, deadline: Deadline) -> bool:
        """Whether publishing ``tree`` would change the live set. Raises JobFailed."""
        copy = tree / self.name
        if not self.path.is_dir():
            return any(path.is_file() for path in copy.rglob("*"))
        told = rsync.copy(
            ["-rcn", "--delete", "--out-format=%i %n", *self._chosen(), f"{copy}/", f"{self.path}/"], deadline
        )
        changes = [line for line in told.splitlines() if line.startswith((">f", "*deleting"))]
        return any(not line.endswith("/") for line in changes)  # empty folders are no memory

    def publish(self, tree: Path, deadline: Deadline) -> None:
        """Make the live set what ``tree`` has: copies, never links. Run again, it goes on. Raises JobFailed."""
        copy = tree / self.name
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = ["-rtc", "--chmod=D0700,F0600", "--delete", *self._chosen()]
        rsync.copy([*options, f"{copy}/", f"{self.path}/"], deadline)
        for database in [path for path in copy.rglob("*") if databases.is_database(path)]:
            live = self.path / database.relative_to(copy)
            for sidecar in databases.SIDECARS:  # a log of the database that was there would damage this one
                live.with_name(live.name + sidecar).unlink(missing_ok=True)
