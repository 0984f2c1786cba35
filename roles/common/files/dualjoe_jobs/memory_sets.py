"""A set of memory: a folder of the gateway's, and patterns that choose from it.

The same choice serves in both directions, so what it leaves out is never read, overwritten or deleted. Links inside the
folder are neither followed nor kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import databases
from dualjoe.selection import Selection

from .job import JobFailed

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_CHUNK_BYTES = 1 << 20
_GATES = (None, "config")
_NEW = ".dualjoe-new"  # what is being written; a killed run may leave it, and the next replaces it


@dataclass(frozen=True)
class MemorySet:
    """``path`` is in the live tree; a copy of the set lies in a folder called ``name``. ``checked`` names the gate that
    it has (see memory_gates.py)."""

    name: str
    path: Path
    selection: Selection
    checked: str | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> MemorySet:
        """From decoded settings. Raises KeyError, TypeError or ValueError."""
        choice = Selection(list(map(str, raw["include"])), list(map(str, raw.get("exclude") or [])))
        made = cls(str(raw["name"]), Path(raw["path"]), choice, raw.get("checked"))
        if not _NAME.match(made.name):
            raise ValueError(f"'{made.name}' is no name for a set")
        if not made.path.is_absolute():
            raise ValueError(f"{made.path} is no absolute path")
        if made.checked not in _GATES:
            raise ValueError(f"set {made.name} is to be checked as {made.checked!r}; there is only {_GATES[1]!r}")
        return made

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything chosen that is no folder: its path in the set, and what it is. Raises OSError.

        Sockets, and the files that SQLite keeps beside a database, are of the running gateway and never memory.
        """
        if self.path.is_dir():  # otherwise nothing has been remembered here yet
            yield from self._walk(self.path, "")

    def _walk(self, folder: Path, above: str) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(folder) as listing:
            entries = list(listing)
        names = {entry.name for entry in entries}
        for entry in entries:
            path = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                if self.selection.enters(path):
                    yield from self._walk(folder / entry.name, path + "/")
            elif (
                self.selection.takes(path)
                and not databases.is_sidecar(entry.name, names)
                and not entry.name.endswith(_NEW)
            ):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # it went away meanwhile
                    continue
                if not stat.S_ISSOCK(status.st_mode):
                    yield path, status

    def write(
        self, path: str, source: Path, wanted: tuple[int, str], mode: int, check_time: Callable[[], object]
    ) -> None:
        """Make the live file at ``path`` a copy of ``source``, whole or not at all, if that has the ``wanted`` size and
        sum. Raises JobFailed.
        """
        folder = real_folder(self.path, path, 0o700)
        live = self.path / path
        if live.is_dir() and not live.is_symlink():
            _remove_folder(live)
        new = folder / f".{hashlib.sha256(os.fsencode(live.name)).hexdigest()[:16]}{_NEW}"
        new.unlink(missing_ok=True)
        try:
            found = copy_file(source, new, check_time)
            if found != wanted:
                raise JobFailed(f"{source} is not what its manifest says: this copy is damaged")
            new.chmod(mode)
            status = source.stat()
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            for sidecar in databases.sidecars(live):  # a log of the database that was there would damage this one
                sidecar.unlink(missing_ok=True)
            new.replace(live)
        finally:
            new.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """Remove the live file at ``path``, what SQLite kept beside it, and the folders that are empty then."""
        live = self.path / path
        for each in (live, *databases.sidecars(live)):
            each.unlink(missing_ok=True)
        for folder in live.relative_to(self.path).parents:
            if folder == Path():
                return
            try:
                (self.path / folder).rmdir()
            except OSError:  # something is left in it
                return


def real_folder(root: Path, path: str, mode: int) -> Path:
    """The folder of the file at ``path`` below ``root``, made where it is missing. What else is in its place, as a
    link, is removed and not followed."""
    folder = root
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for name in path.split("/")[:-1]:
        folder = folder / name
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        folder.mkdir(mode=mode, exist_ok=True)
    return folder


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        raise JobFailed(f"{folder} is a folder, and the memory has a file there; move it away") from error


def copy_file(source: Path, copy: Path, check_time: Callable[[], object]) -> tuple[int, str]:
    """Copy a regular file to where nothing is. Returns its size and SHA-256. Raises OSError; a link is not followed."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as old, copy.open("xb", buffering=0) as new:
        while chunk := old.read(_CHUNK_BYTES):
            check_time()
            digest.update(chunk)
            new.write(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
