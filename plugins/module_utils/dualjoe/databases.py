"""SQLite files: how one is known, and whether it is sound. Looking at a file leaves nothing beside it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

HEADER = b"SQLite format 3\0"
SIDECARS = ("-wal", "-shm", "-journal")
_NAME_BYTES = 255  # Linux: no name of a file is longer
_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
_EXTENSION = re.compile(r"no such (module|collation sequence|function)|unknown function")


class NeedsExtension(sqlite3.OperationalError):
    """It cannot be told whether the database is sound: this SQLite lacks something, which the message names."""


def sidecars(path: Path) -> list[Path]:
    """What SQLite may keep beside a database."""
    return [path.with_name(path.name + end) for end in SIDECARS if len(os.fsencode(path.name + end)) <= _NAME_BYTES]


def is_sidecar(name: str, names: Collection[str]) -> bool:
    """Whether a file is what SQLite keeps beside another; ``names`` are those in its folder."""
    return any(name.endswith(end) and name[: -len(end)] in names for end in SIDECARS)


def is_database(path: Path) -> bool:
    """Whether a regular file begins as SQLite's do; its name says nothing. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def is_in_use(path: Path) -> bool:
    """Whether there may be more in it than its main file has."""
    logs = [beside for beside in sidecars(path) if not beside.name.endswith("-shm")]
    return any(log.exists() and log.stat().st_size for log in logs)


def check(path: Path, thorough: bool = False) -> int:
    """Check a database that nobody writes to, and return how many tables it has.

    ``thorough`` compares the indexes with the tables, too. Raises sqlite3.Error when it is not sound, and of these
    NeedsExtension when that cannot be told.
    """
    with _open(path) as database:
        try:
            verdict = database.execute(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").fetchone()[0]
            tables = len(database.execute(_TABLES).fetchall())
        except sqlite3.OperationalError as error:
            if _EXTENSION.search(str(error)):
                raise NeedsExtension(str(error)) from error
            raise
    if verdict != "ok":
        if _EXTENSION.search(verdict):
            raise NeedsExtension(verdict)
        raise sqlite3.DatabaseError(f"integrity check: {verdict}")
    return tables


def rows(path: Path) -> dict[str, int]:
    """How many rows each table of a sound database has; without tables that need an extension. Raises sqlite3.Error."""
    found = {}
    with _open(path) as database:
        for name, sql in database.execute(_TABLES).fetchall():
            if not re.match(r"\s*create\s+virtual\b", sql, re.IGNORECASE):
                quoted = name.replace('"', '""')
                found[name] = int(database.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0])  # noqa: S608
    return found


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    # Immutable: otherwise a -wal and a -shm would be left beside it. SQLite leaves CHECK constraints alone then, too.
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as database:
        try:
            yield database
        except UnicodeError as error:  # SQLite's own messages quote what it stumbles over
            raise sqlite3.DatabaseError("what it has of its tables is no text") from error
