"""Is this tree good memory? A tree of files goes in, a report comes out; nothing is changed.

The rules (each finding names one, see rules.py) ask for damage, not for style: Joe may write in any language and form
he likes. Errors make a tree bad; warnings are only told.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import contents, databases
from .contents import Fault
from .rules import BUILT_IN, Policy
from .trees import File, Pair, Tree, paired

_FEW_ROWS = 10  # a table with fewer tells nothing when they go


class CouldNotCheck(Exception):
    """There is nothing to check, or it cannot be read; the message says what."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``path`` is relative to the tree; ``line`` counts from 1, and is 0 for a whole file."""

    rule: str
    severity: str
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.message} ({self.rule})"


@dataclass(frozen=True)
class Report:
    """What was found in a tree of ``files`` files with ``bytes`` bytes."""

    tree: str
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def good(self) -> bool:
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tree": self.tree,
            "good": self.good,
            "files": self.files,
            "bytes": self.bytes,
            "errors": [vars(finding) for finding in self.errors],
            "warnings": [vars(finding) for finding in self.warnings],
        }

    def summary(self) -> str:
        """The first errors, in one line."""
        return in_short(self.errors)


def in_short(findings: Sequence[Finding]) -> str:
    """The first of them, in one line."""
    more = f" and {len(findings) - 3} more" if len(findings) > 3 else ""
    return "; ".join(map(str, findings[:3])) + more


def validate(tree: Path | Tree, previous: Path | Tree | None = None, policy: Policy = BUILT_IN) -> Report:
    """Check a folder (or single file), and what it lost since the good tree ``previous``. Raises CouldNotCheck."""
    now, before = (Tree(str(one)) if isinstance(one, Path) else one for one in (tree, previous))
    assert now is not None
    pairs = ((file, None) for file in now.walk()) if before is None else paired(now.walk(), before.walk())
    look = _Look(policy)
    with _reading(now.root):
        look.sums = _sums(now, look)
        for one, two in pairs:
            look.at(one, two)
    return look.report(now.root)


def _sums(tree: Tree, look: _Look) -> dict[str, str] | None:
    try:
        return tree.sums()
    except FileNotFoundError:
        look.add("manifest.json", [Fault("manifest", 0, "is missing")])
    except ValueError as error:
        look.add("manifest.json", [Fault("manifest", 0, str(error))])
    return None


def judge(tree: str, pairs: Iterable[Pair], policy: Policy, unchanged: Iterable[tuple[str, int]] = ()) -> Report:
    """Check the files of ``tree``, each beside what it was in the last good tree.

    Of ``unchanged`` ones (name, size), which were found good under the same policy, nothing is read. Whoever calls this
    has compared the tree with its manifest. Raises CouldNotCheck.
    """
    look = _Look(policy)
    look.unchanged(unchanged)
    with _reading(tree):
        for now, before in pairs:
            look.at(now, before)
    return look.report(tree)


def faults(now: File, before: File | None, policy: Policy) -> tuple[Finding, ...]:
    """What is wrong with one file, beside what it was. Raises CouldNotCheck."""
    look = _Look(policy)
    with _reading(now.path):
        look.at(now, before)
    return tuple(look.findings)


@contextmanager
def _reading(tree: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CouldNotCheck(f"{_shown(error.filename or tree)}: {error.strerror or error}") from error


def _shown(path: object) -> str:
    """A path as text that every terminal takes, also when its bytes are none."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


class _Look:
    """What was seen so far of a tree."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.findings: list[Finding] = []
        self.files = self.bytes = 0
        # Files of the last good tree; those of them that are gone or without a byte. Foreign ones come and go (the
        # gateway itself clears media away), so they do not count.
        self.had = self.lost = 0
        self.had_in: Counter[str] = Counter()  # by folder at the top
        self.has_in: set[str] = set()
        self.sums: dict[str, str] | None = None  # by a generation's manifest, of the files that were not seen yet
        self.missing = {each.path: each for each in policy.schema if each.required}

    def add(self, name: str, faults: Iterable[Fault]) -> None:
        for rule, line, message in faults:
            severity = self.policy.severity(rule, name)
            if severity != "off":
                self.findings.append(Finding(rule, severity, _shown(name), line, message))

    def unchanged(self, files: Iterable[tuple[str, int]]) -> None:
        """Count files that are as they were. They are most of a large tree."""
        is_foreign = self.policy.is_foreign
        for name, size in files:
            self.files += 1
            self.bytes += size
            self._has(name)
            if not is_foreign(name):
                self._had(name)

    def _had(self, name: str) -> None:
        self.had += 1
        self.had_in[name.partition("/")[0] if "/" in name else ""] += 1

    def _has(self, name: str) -> None:
        if "/" in name:
            self.has_in.add(name.partition("/")[0])
        if self.missing and self._is_key(name):
            self.missing = {path: each for path, each in self.missing.items() if not each.selection.takes(name)}

    def at(self, now: File | None, before: File | None) -> None:
        """Look at one file and at what it was."""
        counts = before is not None and not self.policy.is_foreign(before.name)
        if before and counts:
            self._had(before.name)
        if now is None:
            assert before is not None
            self.lost += counts
            if self._is_key(before.name):
                self.add(before.name, [Fault("shrunk", 0, f"is gone, and had {before.size} bytes")])
            return
        name, _, size, _ = now
        self.files += 1
        self.bytes += size
        self._has(name)
        try:
            self._at_content(now, before, self._is_key(name))
        except FileNotFoundError:  # of a live tree, and it went away meanwhile
            return
        if before and before.size and not size:
            self.lost += counts

    def _is_key(self, name: str) -> bool:
        return self.policy.key_files is not None and self.policy.key_files.takes(name)

    def _at_content(self, now: File, before: File | None, key: bool) -> None:
        name, path, size, plain = now
        if not plain:
            self.add(name, [Fault("kind", 0, "is neither file nor folder")])
            return
        if self.sums is not None:
            self._compare(now, self.sums.pop(name, None))
        # Text was no database, and is read on its own.
        was_database = not contents.is_text(name) and _was_database(before)
        if not size and (key or contents.is_named_database(name)):
            self.add(name, [Fault("empty", 0, "has no bytes")])
        else:
            faults = contents.look(path)
            if faults is None:
                faults = tuple(_database_faults(path, before if was_database else None, self.policy.limits.rows_share))
            elif was_database and not faults:
                faults = (Fault("database", 0, "is no database any more"),)
            if faults:
                self.add(name, faults)
        if key and size:
            self.add(name, self._schema_faults(now))
        if before and size < before.size:
            self.add(name, self._losses(now, before, key))

    def _compare(self, now: File, wanted: str | None) -> None:
        if wanted is None:
            self.add(now.name, [Fault("manifest", 0, "does not belong: the manifest does not have it")])
        elif contents.sha256_of(now.path) != wanted:
            self.add(now.name, [Fault("manifest", 0, "is not what the manifest says")])

    def _schema_faults(self, now: File) -> Iterator[Fault]:
        for wanted in self.policy.schema:
            if wanted.selection.takes(now.name):
                if now.size < wanted.min_bytes:
                    yield Fault("schema", 0, f"has {now.size} bytes, and must have {wanted.min_bytes}")
                yield from contents.missing_parts(now.path, wanted)

    def _losses(self, now: File, before: File, key: bool) -> Iterator[Fault]:
        """What is wrong with a file that is smaller than it was."""
        if key:
            if now.size < before.size * (1 - self.policy.limits.shrunk_share):
                yield Fault("shrunk", 0, f"has {now.size} bytes, and had {before.size}")
        elif contents.is_text(now.name) and not now.size:
            yield Fault("blank", 0, f"has no bytes, and had {before.size}")
        if contents.is_text(now.name) and now.size and contents.was_cut(now.path, before.path):
            yield Fault("truncated", 0, f"ends in the middle of a line: {now.size} of {before.size} bytes are left")

    def report(self, tree: str) -> Report:
        """All that was found."""
        self._at_the_whole()
        return Report(_shown(tree), self.files, self.bytes, tuple(self.findings))

    def _at_the_whole(self) -> None:
        """What only shows when all files were seen."""
        for path in self.sums or ():
            self.add(path, [Fault("manifest", 0, "is missing, and the manifest has it")])
        for path in self.missing:
            self.add(path, [Fault("schema", 0, "is missing, and is required")])
        if self.had and not self.files:
            self.add(".", [Fault("emptied", 0, f"is empty, and had {self.had} files")])
            return
        for folder, files in sorted(self.had_in.items()):
            if folder and folder not in self.has_in:
                self.add(folder, [Fault("emptied", 0, f"is empty, and had {files} files")])
        if self.lost > self.had * self.policy.limits.gone_share:
            self.add(".", [Fault("gone", 0, f"{self.lost} of {self.had} files are gone or without a byte")])


def _was_database(before: File | None) -> bool:
    return before is not None and before.plain and databases.is_database(Path(before.path))


def _database_faults(path: str, before: File | None, share: float) -> Iterator[Fault]:
    place = Path(path)
    if databases.is_in_use(place):
        yield Fault("database_unchecked", 0, "is in use (a log lies beside it), so it was not checked")
        return
    try:
        if databases.check(place) == 0:
            yield Fault("database", 0, "has no tables")
        elif before:
            yield from _row_faults(databases.rows(place), _rows_before(Path(before.path)), share)
    except databases.NeedsExtension as error:
        yield Fault("database_unchecked", 0, f"was not checked: {error}")
    except sqlite3.Error as error:
        yield Fault("database", 0, str(error))


def _rows_before(place: Path) -> Mapping[str, int]:
    try:
        return databases.rows(place)
    except sqlite3.Error:  # a bad one is no measure
        return {}


def _row_faults(now: Mapping[str, int], before: Mapping[str, int], share: float) -> Iterator[Fault]:
    """Single tables are emptied in the course of things, as queues are; most of them at once are not."""
    full = {table: count for table, count in before.items() if count >= _FEW_ROWS}
    lost = [table for table, count in sorted(full.items()) if now.get(table, 0) < count * (1 - share)]
    told = [
        f"table {table} has {now[table]} rows, and had {full[table]}"
        if table in now
        else f"table {table} is gone, and had {full[table]} rows"
        for table in lost
    ]
    if len(lost) * 2 > len(full):
        yield Fault("rows", 0, "; ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else ""))
    else:
        yield from (Fault("table", 0, each) for each in told)
