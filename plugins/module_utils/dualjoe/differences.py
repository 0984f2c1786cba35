"""What differs between two versions of a file, in lines for people. Files are read, nothing is changed."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from . import databases
from .names import shown
from .selection import Selection

# What may hold secrets is named, and never shown.
SECRET = Selection(
    ["credentials/**", "**/*.json", "**/*.json.*", "**/.env*", "**/*.key", "**/*.pem", "**/*secret*", "**/*token*"]
)
_MOST_BYTES = 1 << 20  # of text that is compared line by line


def unified(name: str, old: str | None, new: str | None) -> list[str]:
    """A unified diff of two texts; None where there is no such file."""
    label = shown(name)
    before, after = f"a/{label}" if old is not None else "/dev/null", f"b/{label}" if new is not None else "/dev/null"
    lines = difflib.unified_diff((old or "").splitlines(), (new or "").splitlines(), before, after, lineterm="")
    return list(lines)


def text(path: Path, most_bytes: int = _MOST_BYTES) -> str | None:
    """What is in a file; None where it is no text, or a longer one. Raises OSError."""
    if path.stat().st_size > most_bytes:
        return None
    content = path.read_bytes()
    try:
        return None if b"\0" in content else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def of_file(name: str, old: Path | None, new: Path | None) -> Iterator[str]:
    """The differences from ``old`` to ``new``; None where there is no such file. Text as a unified diff, databases as
    their tables' numbers of rows, all else, and what may hold secrets, by its size. Raises OSError."""
    texts = {} if SECRET.takes(name) else {path: text(path) for path in (old, new) if path}
    if texts and None not in texts.values():
        yield from map(shown, unified(name, texts[old] if old else None, texts[new] if new else None))
        return
    tables = [_tables(path) for path in (old, new)]
    what = "new" if old is None else "gone" if new is None else "changed"
    yield f"{what} {shown(name)}: {_size(old)} -> {_size(new)}"
    then, now = (found or {} for found in tables)
    for table in sorted(then.keys() | now.keys()):
        if then.get(table) != now.get(table):
            yield f"    table {shown(table)}: {_rows(then.get(table))} -> {_rows(now.get(table))}"


def _size(path: Path | None) -> str:
    return "nothing" if path is None else f"{path.stat().st_size} bytes"


def _rows(number: int | None) -> str:
    return "no table" if number is None else f"{number} rows"


def _tables(path: Path | None) -> dict[str, int] | None:
    """Table -> number of rows; None where it is no database that can be read."""
    if path is None or not databases.is_database(path):
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            counted = {}
            for name in names:
                quoted = name.replace('"', '""')
                query = f'SELECT count(*) FROM "{quoted}"'  # noqa: S608 it is quoted
                counted[name] = int(database.execute(query).fetchone()[0])
            return counted
    except sqlite3.Error:
        return None
