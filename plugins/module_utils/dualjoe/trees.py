"""A tree's files by name, one at a time: a large tree takes no more memory than its largest folder."""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

from . import databases
from .selection import Selection

_RECORDS = frozenset({"manifest.json", "meta.json"})  # at the top of a generation: about the memory, not of it


class File(NamedTuple):
    """One file. ``name`` is its path in the memory, ``path`` where it is. ``plain``: a regular file."""

    name: str
    path: str
    size: int
    plain: bool = True


Pair = tuple[Optional[File], Optional[File]]  # of one name: as it is, and as it was; None where it is not, or was not


@dataclass(frozen=True)
class Tree:
    """The folder (or single file) at ``root``. Where it is the live folder of a set, ``name`` is that set's, and only
    what its ``selection`` takes is of the tree."""

    root: str
    name: str = ""
    selection: Selection | None = None

    def walk(self) -> Iterator[File]:
        """Everything that is no folder, sorted by name. Raises OSError."""
        status = os.stat(self.root)
        if stat.S_ISDIR(status.st_mode):
            yield from self._walk(self.root, "")
        else:
            yield File(os.path.basename(self.root), self.root, status.st_size, stat.S_ISREG(status.st_mode))

    def _walk(self, folder: str, above: str) -> Iterator[File]:
        try:
            with os.scandir(folder) as listing:
                entries = [
                    (each.name + "/" if each.is_dir(follow_symlinks=False) else each.name, each) for each in listing
                ]
        except FileNotFoundError:
            if not above:
                raise
            return  # it went away meanwhile
        names = {name for name, _ in entries} if self.selection else set()
        for name, entry in sorted(entries, key=lambda each: each[0]):  # with its slash: the order of whole paths
            path = above + name
            if name.endswith("/"):
                if self.selection is None or self.selection.enters(path[:-1]):
                    yield from self._walk(entry.path, path)
            elif (above or name not in _RECORDS) if self.selection is None else self._takes(path, name, names, entry):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                whole = f"{self.name}/{path}" if self.name else path
                yield File(whole, entry.path, status.st_size, stat.S_ISREG(status.st_mode))

    def _takes(self, path: str, name: str, names: set[str], entry: os.DirEntry[str]) -> bool:
        """Whether a sync would copy the live file."""
        beside = any(name.endswith(end) and name[: -len(end)] in names for end in databases.SIDECARS)
        return (
            bool(self.selection and self.selection.takes(path)) and not beside and entry.is_file(follow_symlinks=False)
        )


def paired(now: Iterator[File], before: Iterator[File]) -> Iterator[Pair]:
    """The files of two trees side by side: of each name the one, the other, or both."""
    left, right = next(now, None), next(before, None)
    while left or right:
        if right is None or (left is not None and left.name < right.name):
            yield left, None
            left = next(now, None)
        elif left is None or right.name < left.name:
            yield None, right
            right = next(before, None)
        else:
            yield left, right
            left, right = next(now, None), next(before, None)


def changes(now: Tree, before: Tree) -> tuple[list[str], list[str], list[str]]:
    """The names of the files that were added, removed and changed. Raises OSError."""
    added, removed, changed = [], [], []
    for one, two in paired(now.walk(), before.walk()):
        if two is None and one is not None:
            added.append(one.name)
        elif one is None and two is not None:
            removed.append(two.name)
        elif one and two and not (one.plain and two.plain and filecmp.cmp(one.path, two.path, shallow=False)):
            changed.append(one.name)
    return added, removed, changed
