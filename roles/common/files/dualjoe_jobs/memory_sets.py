"""A set of memory: a folder of the gateway's, and patterns that choose from it.

The same choice serves in both directions, so what it leaves out is never read, overwritten or deleted. Links inside the
folder are neither followed nor kept.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Listing:
    """What is in a folder of a set: names, and what they are; None for a folder. ``above``: its path in the set."""

    selection: Selection
    above: str
    entries: Sequence[tuple[str, os.stat_result | None]]

    @property
    def look(self) -> str:
        """One sum over all of it: the same as long as nothing is added, removed or written to. Not for another Python
        to know again."""
        told = [
            (name, one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) if one else name
            for name, one in self.entries
        ]
        return hashlib.sha256(marshal.dumps(told, 2)).hexdigest()

    def chosen(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything chosen that is no folder. Sockets, and the files that SQLite keeps beside a database, are of the
        running gateway and never memory."""
        names = {name for name, _ in self.entries}
        for name, status in self.entries:
            if (
                status is not None
                and self.selection.takes(self.above + name)
                and not databases.is_sidecar(name, names)
                and not name.endswith(_NEW)
                and not stat.S_ISSOCK(status.st_mode)
            ):
                yield name, status


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
        """Everything chosen that is no folder: its path in the set, and what it is. Raises OSError."""
        return ((above + name, status) for above, one in self.folders() for name, status in one.chosen())

    def folders(self) -> Iterator[tuple[str, Listing]]:
        """Every folder in which something chosen may lie: its path in the set, with a slash at the end, and what is in
        it now. Raises OSError."""
        if self.path.is_dir():  # otherwise nothing has been remembered here yet
            yield from self._folders(os.fspath(self.path), "")

    def _folders(self, folder: str, above: str) -> Iterator[tuple[str, Listing]]:
        entries: list[tuple[str, os.stat_result | None]] = []
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    entries.append((entry.name, None))
                else:
                    try:
                        entries.append((entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:  # it went away meanwhile
                        continue
        yield above, Listing(self.selection, above, entries)
        for name, status in entries:
            if status is None and self.selection.enters(above + name):
                yield from self._folders(f"{folder}/{name}", f"{above}{name}/")

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
        for each in databases.sidecars(self.path / path):
            each.unlink(missing_ok=True)
        remove_file(self.path, path)


def remove_file(root: Path, path: str) -> None:
    """Remove the file at ``path`` below ``root`` if it is there, and the folders that are empty then."""
    (root / path).unlink(missing_ok=True)
    while folder := path.rpartition("/")[0]:
        try:
            (root / folder).rmdir()
        except OSError:  # something is left in it
            return
        path = folder


def real_folder(root: Path, path: str, mode: int) -> Path:
    """The folder of the file at ``path`` below ``root``, made where it is missing. What else is in its place, as a
    link, is removed and not followed."""
    if not root.is_dir():
        root.mkdir(mode=mode, parents=True, exist_ok=True)
    folder = os.fspath(root)
    for name in path.split("/")[:-1]:
        folder = f"{folder}/{name}"
        try:
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                continue
            os.unlink(folder)
        except FileNotFoundError:
            pass
        os.mkdir(folder, mode)
    return Path(folder)


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
