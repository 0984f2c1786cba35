"""Whether a snapshot is as it was made: each catalog by its sum, each file there with its size, and nothing else.

A file's content is read where the caller wants that. One thing is looked at after another: a snapshot with very many
files takes no more memory than its largest folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import catalog, snapshots
from .catalog import CatalogError, Entry
from .contents import sha256_of
from .snapshots import CATALOG, DATA, SNAPSHOT, Part, SnapshotError

Sum = tuple[int, str]  # size in bytes, SHA-256

MISSING, DIFFERS, SURPLUS = "is missing", "is damaged", "does not belong"


@dataclass(frozen=True)
class Damage:
    """``path``: in the snapshot. ``sum``: what should be there; None where nothing should, or nobody knows what."""

    path: str
    what: str
    sum: Sum | None = None


@dataclass
class Tally:
    """How much was looked at, and how much of it was read."""

    files: int = 0
    files_read: int = 0
    bytes_read: int = 0


Wanted = Callable[[str, Entry, os.stat_result], bool]  # the path in the snapshot, what it should be, what it is


def everything(_path: str, _entry: Entry, _status: os.stat_result) -> bool:
    """All content is to be read."""
    return True


def check(place: Path, wanted: Wanted = everything, tally: Tally | None = None) -> Iterator[Damage]:
    """What is wrong with the snapshot in ``place``. ``wanted`` says of which files the content is read."""
    tally = tally or Tally()
    try:
        told = snapshots.load(place)
    except SnapshotError:
        yield Damage(SNAPSHOT, DIFFERS if (place / SNAPSHOT).exists() else MISSING)
        return
    yield from _surplus(place, "", {SNAPSHOT, *told.containers})
    for name, part in told.containers.items():
        yield from _surplus(place, f"{name}/", {CATALOG, DATA})
        yield from _part(place, name, part, wanted, tally)


def _surplus(place: Path, folder: str, known: set[str]) -> Iterator[Damage]:
    try:
        for name in sorted(set(os.listdir(place / folder)) - known):
            yield Damage(folder + name, SURPLUS)
    except OSError:  # what should be in it is found to be missing
        pass


def _part(place: Path, name: str, part: Part, wanted: Wanted, tally: Tally) -> Iterator[Damage]:
    path = f"{name}/{CATALOG}"
    found = state_of(place / path, part.catalog)
    if found:
        yield Damage(path, found, part.catalog)
        return
    with (place / path).open("rb") as file:
        try:
            yield from _files(f"{place}/", f"{name}/{DATA}/", catalog.read(file), wanted, tally)
        except CatalogError:
            yield Damage(path, DIFFERS, part.catalog)


def state_of(path: Path | str, sum_: Sum) -> str | None:
    """What is wrong with a file that should have this sum; None where nothing is."""
    try:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size == sum_[0] and sha256_of(str(path)) == sum_[1]:
            return None
    except FileNotFoundError:
        return MISSING
    except OSError:  # it cannot be read
        pass
    return DIFFERS


def _files(place: str, above: str, entries: Iterator[Entry], wanted: Wanted, tally: Tally) -> Iterator[Damage]:
    there = walk(place + above)
    found = next(there, None)
    for entry in entries:
        if not entry.has_data:
            continue
        key = catalog.order(entry.path)
        while found and catalog.order(found[0]) < key:
            yield Damage(above + found[0], SURPLUS)
            found = next(there, None)
        path = above + entry.path
        if found is None or found[0] != entry.path:
            yield Damage(path, MISSING, (entry.size, entry.sha256))
            continue
        tally.files += 1
        if not _good(place + path, path, entry, found[1], wanted, tally):
            yield Damage(path, DIFFERS, (entry.size, entry.sha256))
        found = next(there, None)
    while found:
        yield Damage(above + found[0], SURPLUS)
        found = next(there, None)


def _good(file: str, path: str, entry: Entry, found: os.DirEntry[str], wanted: Wanted, tally: Tally) -> bool:
    try:
        status = found.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
            return False
        if not wanted(path, entry, status):
            return True
        tally.files_read += 1
        tally.bytes_read += entry.size
        return sha256_of(file) == entry.sha256
    except OSError:  # gone, or it cannot be read
        return False


def walk(folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is no folder below ``folder``, by its path from there, in the order of catalogs."""
    stack = [("", iter(_listing(folder)))]
    while stack:
        above, listing = stack[-1]
        entry = next(listing, None)
        if entry is None:
            stack.pop()
        elif entry.is_dir(follow_symlinks=False):
            stack.append((f"{above}{entry.name}/", iter(_listing(entry.path))))
        else:
            yield above + entry.name, entry


def _listing(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError:  # what should be in it is found to be missing
        return []
