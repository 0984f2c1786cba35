"""A tree's files by name, one at a time: a large tree takes no more memory than its largest folder."""

from __future__ import annotations

import filecmp
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

from . import databases
from .selection import Selection

_MANIFEST, _NOTE = "manifest.json", "meta.json"  # at the top of a generation: about the memory, not of it
_RECORDS = frozenset({_MANIFEST, _NOTE})


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

    def sums(self) -> dict[str, str] | None:
        """Of a generation, the SHA-256 of each file by its manifest. Raises OSError; ValueError for a bad manifest."""
        if self.selection is not None or not os.path.isfile(os.path.join(self.root, _NOTE)):
            return None
        with open(os.path.join(self.root, _MANIFEST), encoding="utf-8") as file:
            raw = json.load(file)
        try:
            return {str(each["path"]): str(each["sha256"]) for each in raw["files"]}
        except (KeyError, TypeError) as error:
            raise ValueError(f"makes no sense: {error!r}") from error

    def walk(self) -> Iterator[File]:
        """Everything that is no folder, sorted by name. Raises OSError."""
        status = os.stat(self.root)
        if stat.S_ISDIR(status.st_mode):
            yield from self._walk(self.root, "")
        else:
            path = os.path.realpath(self.root)
            yield File(os.path.basename(self.root), path, status.st_size, stat.S_ISREG(status.st_mode))

    def _walk(self, folder: str, above: str) -> Iterator[File]:
        try:
            with os.scandir(folder) as listing:
                entries = [(each.name + "/" * each.is_dir(follow_symlinks=False), each) for each in listing]
        except FileNotFoundError:
            if not above:
                raise
            return  # it went away meanwhile
        names = {name for name, _ in entries}
        for name, entry in sorted(entries, key=lambda each: each[0]):  # with its slash: the order of whole paths
            path = above + name
            if name.endswith("/"):
                if self.selection is None or self.selection.enters(path[:-1]):
                    yield from self._walk(entry.path, path)
            elif self._takes(path, entry, names):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                whole = f"{self.name}/{path}" if self.name else path
                yield File(whole, entry.path, status.st_size, stat.S_ISREG(status.st_mode))

    def _takes(self, path: str, entry: os.DirEntry[str], names: set[str]) -> bool:
        """Whether a file is of the tree; of a set's folder, whether a sync would copy it."""
        if self.selection is None:
            return path not in _RECORDS
        is_plain = entry.is_file(follow_symlinks=False)
        return is_plain and self.selection.takes(path) and not databases.is_sidecar(entry.name, names)


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
