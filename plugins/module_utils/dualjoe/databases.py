"""SQLite files: how one is known, and whether it is sound. Looking at a file leaves nothing beside it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

HEADER = b"SQLite format 3\0"
SIDECARS = ("-wal", "-shm", "-journal")
_NAME_BYTES = 255  # Linux: no name of a file is longer


def sidecars(path: Path) -> list[Path]:
    """What SQLite may keep beside a database."""
    return [path.with_name(path.name + end) for end in SIDECARS if len(os.fsencode(path.name + end)) <= _NAME_BYTES]


def is_database(path: Path) -> bool:
    """Whether a regular file begins as SQLite's do; its name says nothing. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def check(path: Path, thorough: bool = False) -> int:
    """Check a database that nobody writes to, and return how many tables it has.

    ``thorough`` compares the indexes with the tables, too. Raises sqlite3.Error when it is not sound.
    """
    # Immutable: otherwise a -wal and a -shm would be left beside it.
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as database:
        verdict = database.execute(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"integrity check: {verdict}")
        tables = database.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        ).fetchone()[0]
    return int(tables)
