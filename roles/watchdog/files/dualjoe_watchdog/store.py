"""What the watchdog must not forget: the record, the timeline and the alerts still to be sent, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe.pair import Pause, Record

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE record (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL, changed_at TEXT NOT NULL);
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, node TEXT, epoch INTEGER,
  reason TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, text TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  sent_at TEXT);
"""
# Not there in a store of before; so made where it is missing.
_MODE = """
CREATE TABLE IF NOT EXISTS mode (
  id INTEGER PRIMARY KEY CHECK (id = 1), mode TEXT NOT NULL, setting TEXT NOT NULL, changed_at TEXT NOT NULL);
"""


class BadStore(Exception):
    """The file is not a store that this watchdog can use. Never treated as an empty one."""


def utc_now() -> str:
    """The wall clock, for people: ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """One SQLite file; every write is on disk when the call returns (synchronous = EXTRA)."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute("PRAGMA synchronous = EXTRA")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
            elif version != SCHEMA_VERSION:
                raise BadStore(f"{path}: schema version {version}, this watchdog knows {SCHEMA_VERSION}")
            elif (state := self._db.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise BadStore(f"{path}: {state}")
            self._db.executescript(_MODE)
        except sqlite3.DatabaseError as error:
            hint = "move it away only if you know that no gateway runs without this watchdog's lease"
            raise BadStore(f"{path}: {error}; {hint}") from error

    def close(self) -> None:
        self._db.close()

    def record(self) -> Record:
        """The stored record; an empty one where none was ever stored."""
        row = self._db.execute("SELECT body FROM record").fetchone()
        if row is None:
            return Record()
        try:
            body = json.loads(row["body"])
            pause = body.pop("pause", None)
            failovers = tuple(float(at) for at in body.pop("failovers", ()))
            return Record(**body, pause=None if pause is None else Pause(**pause), failovers=failovers)
        except (ValueError, TypeError) as error:
            raise BadStore(f"the record cannot be read: {error}") from error

    def save_record(self, record: Record) -> None:
        self._db.execute(
            "INSERT INTO record VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body,"
            " changed_at = excluded.changed_at",
            (json.dumps(asdict(record)), utc_now()),
        )

    def add_event(self, kind: str, reason: str, node: str | None, epoch: int | None, data: dict[str, Any]) -> None:
        self._db.execute(
            "INSERT INTO events (at, kind, node, epoch, reason, data) VALUES (?, ?, ?, ?, ?, ?)",
            (utc_now(), kind, node, epoch, reason, json.dumps(data)),
        )

    def events(
        self,
        limit: int,
        *,
        node: str | None = None,
        kinds: Sequence[str] = (),
        since: str | None = None,
        after: int = 0,
    ) -> list[dict[str, Any]]:
        """The newest ``limit`` events, oldest first: all, or those of a node, of kinds, not before ``since`` (UTC), and
        with a number above ``after``."""
        where: list[str] = ["number > ?"]
        values: list[object] = [after]
        if node is not None:
            where, values = [*where, "node = ?"], [*values, node]
        if kinds:
            where, values = [*where, f"kind IN ({', '.join('?' * len(kinds))})"], [*values, *kinds]
        if since is not None:
            where, values = [*where, "at >= ?"], [*values, since]
        query = f"SELECT * FROM events WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?"  # noqa: S608
        rows = self._db.execute(query, (*values, limit)).fetchall()
        return [{**dict(row), "data": json.loads(row["data"])} for row in reversed(rows)]

    def mode(self, setting: str) -> str:
        """The mode that an operator has switched to, as long as the setting is what it was then; else the setting."""
        row = self._db.execute("SELECT mode FROM mode WHERE setting = ?", (setting,)).fetchone()
        return setting if row is None else str(row["mode"])

    def save_mode(self, mode: str, setting: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO mode VALUES (1, ?, ?, ?)", (mode, setting, utc_now()))

    def queue_alert(self, text: str) -> int:
        number = self._db.execute("INSERT INTO outbox (at, text) VALUES (?, ?)", (utc_now(), text)).lastrowid
        assert number is not None
        return number

    def next_alert(self, after: int = 0) -> tuple[int, str] | None:
        """The oldest alert that was not sent, of those with a number above ``after``."""
        row = self._db.execute(
            "SELECT number, text FROM outbox WHERE sent_at IS NULL AND number > ? ORDER BY number", (after,)
        ).fetchone()
        return None if row is None else (row["number"], row["text"])

    def alert_tried(self, number: int, sent: bool) -> None:
        self._db.execute(
            "UPDATE outbox SET attempts = attempts + 1, sent_at = ? WHERE number = ?",
            (utc_now() if sent else None, number),
        )

    def alert_sent(self, number: int) -> bool:
        row = self._db.execute("SELECT sent_at FROM outbox WHERE number = ?", (number,)).fetchone()
        return row is not None and row["sent_at"] is not None

    def alerts_waiting(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM outbox WHERE sent_at IS NULL").fetchone()[0])
