"""Copy a SQLite database that is in use. Its raw bytes, copied while it is written to, are mostly no database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dualjoe import databases

_STEP_PAGES = 4096


def copy_sqlite(source: Path, copy: Path, check_time: Callable[[], object]) -> int:
    """Copy a database from one read transaction; return how many tables the copy has.

    ``check_time`` is called between steps and may raise. Raises sqlite3.Error when either side is no sound database.
    """
    with closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=30, isolation_level=None)) as live:
        live.execute("PRAGMA query_only = ON")
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the read transaction starts here
        with closing(sqlite3.connect(copy)) as new:
            live.backup(new, pages=_STEP_PAGES, progress=lambda *_: check_time())
    for sidecar in databases.SIDECARS:
        copy.with_name(copy.name + sidecar).unlink(missing_ok=True)
    return databases.check(copy, thorough=True)
