"""Copy a SQLite database that is in use. Its raw bytes, copied while it is written to, are mostly no database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from dualjoe import databases

_STEP_PAGES = 4096
# Of the header (https://www.sqlite.org/fileformat.html): the file change counter, and the counter for which the rest of
# the header holds. They count writes by whoever made the copy, so that equal content would have unequal bytes.
_COUNTERS = (24, 92)
_COUNTED = (1).to_bytes(4, "big")


def copy_sqlite(source: Path, copy: Path, check_time: Callable[[], object]) -> None:
    """Copy a database from one read transaction. Nothing is beside the copy afterwards.

    ``check_time`` is called between steps and may raise. Raises sqlite3.Error when the source is no sound database.
    """
    with closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=30, isolation_level=None)) as live:
        live.execute("PRAGMA query_only = ON")
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the read transaction starts here
        with closing(sqlite3.connect(copy)) as new:
            live.backup(new, pages=_STEP_PAGES, progress=lambda *_: check_time())
    _remove_sidecars(copy)


def forget(copy: Path, tables: Sequence[str]) -> None:
    """Empty those of ``tables`` that the copy of a database has, leaving no trace of their rows, and give it the bytes
    that its content alone decides. Raises sqlite3.Error."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # a copy is read only, which a write-ahead log is not made for
        database.execute("PRAGMA secure_delete = ON")
        for table in tables:
            query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
            if database.execute(query, (table,)).fetchone()[0]:
                quoted = table.replace('"', '""')
                database.execute(f'DELETE FROM "{quoted}"')  # noqa: S608 it is quoted
    _remove_sidecars(copy)
    with copy.open("r+b") as file:
        for offset in _COUNTERS:
            file.seek(offset)
            file.write(_COUNTED)


def _remove_sidecars(copy: Path) -> None:
    for sidecar in databases.sidecars(copy):
        sidecar.unlink(missing_ok=True)
