"""Which files of a folder belong to a set: patterns go in, a choice of relative paths comes out. Pure.

A pattern is a path relative to the folder. ``*`` and ``?`` stand for characters of one name, ``**`` for any number of
folders (at the end: for all that lies below); everything else stands for itself. A file is chosen when a pattern of
``include`` fits its path, unless one of ``exclude`` fits it or a folder above it. An exclusion without a slash fits a
name anywhere, with one at its beginning only the name at the top; one that ends in a slash fits folders only.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from functools import cached_property

_NEVER = "(?!)"


class Selection:
    """A choice of files. Raises ValueError for a pattern that leads out of the folder or chooses nothing."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str] = ()) -> None:
        if not include:
            raise ValueError("a set without 'include' has nothing in it")
        for pattern in (*include, *(each[each.startswith("/") :] for each in exclude)):
            parts = pattern.rstrip("/").split("/")
            if pattern.startswith("/") or not set(parts).isdisjoint({"", ".", ".."}):
                raise ValueError(f"{pattern!r} is no pattern for what is inside a folder")
        self.include, self.exclude = tuple(include), tuple(exclude)
        self._reached: dict[str, bool] = {}  # of each folder it is asked for each file in it

    @cached_property
    def _chosen(self) -> re.Pattern[str]:
        return _any(_expression(_parts(pattern)) for pattern in self.include)

    @cached_property
    def _entered(self) -> re.Pattern[str]:
        """Folders in which a chosen file may lie."""
        return _any(expression for pattern in self.include for expression in _above(_parts(pattern)))

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        """Paths, those of folders with a slash at the end."""
        return _any(map(_exclusion, self.exclude))

    def takes(self, path: str) -> bool:
        """Whether the file at ``path`` belongs to it, where nothing above it is excluded."""
        return self._chosen.fullmatch(path) is not None and self._excluded.fullmatch(path) is None

    def enters(self, folder: str) -> bool:
        """Whether a file somewhere below ``folder`` may belong to it."""
        return self._entered.fullmatch(folder) is not None and self._excluded.fullmatch(f"{folder}/") is None

    def takes_deep(self, path: str) -> bool:
        """As ``takes``, looking at the folders above as well."""
        above = path.rpartition("/")[0]
        return self.takes(path) and (not above or self.reaches(above))

    def reaches(self, folder: str) -> bool:
        """Whether it enters all folders on the way to ``folder``, and that one."""
        if folder not in self._reached:
            above = folder.rpartition("/")[0]
            self._reached[folder] = self.enters(folder) and (not above or self.reaches(above))
        return self._reached[folder]


def overlaps(sets: Iterable[tuple[str, str, Selection]]) -> list[str]:
    """One message for each two sets (name, absolute folder, choice) that may choose the same file: in one folder, or
    in one that the other's choice enters."""
    placed = [(posixpath.normpath(folder), name, selection) for name, folder, selection in sets]
    placed.sort(key=lambda one: one[:2])
    found = []
    for number, (above, name, selection) in enumerate(placed):
        for below, other, _ in placed[number + 1 :]:
            rest = posixpath.relpath(below, above)
            if rest == "." or (not rest.startswith("../") and rest != ".." and selection.reaches(rest)):
                found.append(f"set {other} ({below}) may have files of set {name} ({above}): exclude them there")
    return found


def _parts(pattern: str) -> list[str]:
    """A pattern's names; one that ends in a slash is a folder with all that is below."""
    return f"{pattern}**".split("/") if pattern.endswith("/") else pattern.split("/")


def _any(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(expressions) or _NEVER, re.DOTALL)


def _name(part: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character) for character in part)


def _expression(parts: Sequence[str]) -> str:
    *folders, last = parts
    above = "".join("(?:[^/]+/)*" if part == "**" else f"{_name(part)}/" for part in folders)
    return above + (".+" if last == "**" else _name(last))


def _above(parts: Sequence[str]) -> Iterable[str]:
    """Expressions for the folders on the way to what the parts choose."""
    for depth, part in enumerate(parts):
        if part == "**":
            if depth:
                yield _expression(parts[:depth])
            yield _expression(parts[: depth + 1])
            return
        if depth + 1 < len(parts):
            yield _expression(parts[: depth + 1])


def _exclusion(pattern: str) -> str:
    names = pattern.rstrip("/").split("/")
    expression = _expression(names[not names[0] :] if len(names) > 1 else ["**", names[0]])
    return expression + ("/" if pattern.endswith("/") else "/?")
