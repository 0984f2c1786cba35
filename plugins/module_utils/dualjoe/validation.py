"""Is this tree good memory? A tree of files goes in, a report comes out; nothing is changed.

The rules (each finding names one) ask for damage, not for style: Joe may write in any language and form he likes.
Errors make a tree bad; warnings are only told.

==================  =========  =========================================================================================
rule                severity   finds
==================  =========  =========================================================================================
kind                error      a symbolic link, FIFO, socket or device
empty               error      MEMORY.md, or a file named as a database, with no bytes
nul                 error      NUL bytes in a text file, as a disk leaves them after a power cut
encoding            error      text that is not UTF-8
json, jsonl         error      JSON, or a line of JSONL, that is cut off or makes no sense
conflict            error      the markers of a merge that was not finished, outside of a code block
front_matter        warning    front matter of Markdown that is opened and never closed
database            error      an SQLite file (known by its header) that fails SQLite's own check, or has no tables
database_in_use     warning    an SQLite file with a write-ahead log beside it, which therefore was not checked
emptied             error      a folder at the top, or the whole, is empty and was not in the last good tree
shrunk              error      a MEMORY.md lost more than its share of bytes since the last good tree
gone                error      more than their share of the files are gone since the last good tree
==================  =========  =========================================================================================
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import databases

MEMORY = "MEMORY.md"
_TEXT = frozenset({".md", ".txt", ".json", ".jsonl", ".yaml", ".yml"})
_DATABASE = frozenset({".sqlite", ".sqlite3", ".db"})
_RECORDS = frozenset({"manifest.json", "meta.json"})  # at the top of a generation: about the memory, not of it
_KEY = re.compile(r"^[\w-]+\s*:")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_CONFLICT = ("<<<<<<< ", "=======", ">>>>>>> ")


class CouldNotCheck(Exception):
    """There is nothing to check, or it cannot be read; the message says what."""


@dataclass(frozen=True)
class Limits:
    """The share that may be missing compared with the last good tree: of MEMORY.md's bytes, of the number of files."""

    shrunk_share: float = 0.5
    gone_share: float = 0.5


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
        more = f" and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
        return "; ".join(map(str, self.errors[:3])) + more


def validate(tree: Path, previous: Path | None = None, limits: Limits = Limits()) -> Report:
    """Check the folder (or single file) ``tree``, and what it lost since the good tree ``previous``.

    Raises CouldNotCheck.
    """
    try:
        found = _survey(tree)
        findings = [finding for path, status in found.items() for finding in _look_at(path, tree, status)]
        if previous is not None:
            findings += _drift(_sizes(tree, found), _sizes(previous, _survey(previous)), limits)
    except OSError as error:
        raise CouldNotCheck(f"{_shown(error.filename or tree)}: {error.strerror or error}") from error
    sizes = [status.st_size for status in found.values()]
    return Report(_shown(tree), len(sizes), sum(sizes), tuple(findings))


def _shown(path: object) -> str:
    """A path as text that every terminal takes, also when its bytes are none."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _survey(tree: Path) -> dict[Path, os.stat_result]:
    """All that is in the tree and no folder."""
    status = tree.stat()
    if not stat.S_ISDIR(status.st_mode):
        return {tree: status}
    return dict(sorted(_walk(tree, tree)))


def _walk(folder: Path, tree: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(path, tree)
            elif not (folder == tree and entry.name in _RECORDS):
                yield path, entry.stat(follow_symlinks=False)


def _look_at(path: Path, tree: Path, status: os.stat_result) -> Iterator[Finding]:
    """What is wrong with one file."""
    name = _shown(path.name if path == tree else path.relative_to(tree))

    def error(rule: str, message: str, line: int = 0) -> Finding:
        return Finding(rule, "error", name, line, message)

    suffix = path.suffix.lower()
    if not stat.S_ISREG(status.st_mode):
        yield error("kind", "is neither file nor folder")
    elif status.st_size == 0:
        if path.name == MEMORY or suffix in _DATABASE:
            yield error("empty", "has no bytes")
        elif suffix == ".json":
            yield error("json", "has no bytes")
    elif databases.is_database(path):
        yield from _look_at_database(path, name)
    elif suffix in _TEXT:
        yield from _look_at_text(path.read_bytes(), suffix, name)


def _look_at_database(path: Path, name: str) -> Iterator[Finding]:
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        yield Finding("database_in_use", "warning", name, 0, "has a write-ahead log beside it, so it was not checked")
        return
    try:
        if databases.check(path) == 0:
            yield Finding("database", "error", name, 0, "has no tables")
    except sqlite3.Error as error:
        yield Finding("database", "error", name, 0, str(error))


def _look_at_text(content: bytes, suffix: str, name: str) -> Iterator[Finding]:
    def line_of(offset: int) -> int:
        return content.count(b"\n", 0, offset) + 1

    zeros = content.count(b"\0")
    if zeros:
        line = line_of(content.index(b"\0"))
        yield Finding("nul", "error", name, line, f"{zeros} of {len(content)} bytes are NUL")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Finding("encoding", "error", name, line_of(error.start), "is not UTF-8")
        return
    if suffix == ".json":
        yield from _look_at_json(text, "json", name, 0)
    elif suffix == ".jsonl":
        for number, line_text in enumerate(text.split("\n"), 1):
            if line_text.strip():
                yield from _look_at_json(line_text, "jsonl", name, number)
    else:
        yield from _look_at_prose(text.split("\n"), suffix, name)


def _look_at_json(text: str, rule: str, name: str, line: int) -> Iterator[Finding]:
    try:
        json.loads(text)
    except RecursionError:
        yield Finding(rule, "error", name, line, "is nested too deeply")
    except json.JSONDecodeError as error:
        yield Finding(rule, "error", name, line or error.lineno, f"is no JSON: {error.msg}")


def _look_at_prose(lines: list[str], suffix: str, name: str) -> Iterator[Finding]:
    wanted = 0  # which of the three markers comes next; they count in this order only
    opened_at = 0
    fenced = False
    for number, line in enumerate(lines, 1):
        if suffix == ".md" and _FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.startswith(_CONFLICT[wanted]):
            opened_at = opened_at if wanted else number
            wanted += 1
            if wanted == len(_CONFLICT):
                yield Finding("conflict", "error", name, opened_at, "has the markers of an unfinished merge")
                return
    # A first line of dashes is a rule across the page, unless something like a key follows.
    opens = suffix == ".md" and len(lines) > 1 and lines[0].rstrip() == "---" and _KEY.match(lines[1])
    if opens and not any(line.rstrip() in {"---", "..."} for line in lines[1:]):
        yield Finding("front_matter", "warning", name, 1, "has front matter that is never closed")


def _sizes(tree: Path, found: dict[Path, os.stat_result]) -> dict[str, int]:
    return {_shown(path.relative_to(tree)): status.st_size for path, status in found.items()}


def _drift(now: dict[str, int], before: dict[str, int], limits: Limits) -> Iterator[Finding]:
    """What the tree lost since the last good one."""
    if before and not now:
        yield Finding("emptied", "error", ".", 0, f"is empty, and had {len(before)} files")
        return
    left = Counter(path.split("/")[0] for path in now if "/" in path)
    for folder, files in sorted(Counter(path.split("/")[0] for path in before if "/" in path).items()):
        if not left[folder]:
            yield Finding("emptied", "error", folder, 0, f"is empty, and had {files} files")
    for path, size in sorted(before.items()):
        if path.rpartition("/")[2] == MEMORY and path in now and now[path] < size * (1 - limits.shrunk_share):
            yield Finding("shrunk", "error", path, 0, f"has {now[path]} bytes, and had {size}")
    gone = len(before.keys() - now.keys())
    if gone > len(before) * limits.gone_share:
        yield Finding("gone", "error", ".", 0, f"{gone} of {len(before)} files are gone")
