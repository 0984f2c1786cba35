"""What the watchdog must not forget: the record, the timeline and the alerts still to be sent, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe.notices import Notice
from dualjoe.pair import Pause, Record

# The schema, step by step: a store that an older version has left is brought on from where it is.
_STEPS = (
    """
CREATE TABLE record (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL, changed_at TEXT NOT NULL);
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, node TEXT, epoch INTEGER,
  reason TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, text TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  sent_at TEXT);
""",
    """
CREATE TABLE alerts (
  number INTEGER PRIMARY KEY, at TEXT NOT NULL, text TEXT NOT NULL, urgent INTEGER NOT NULL, key TEXT NOT NULL,
  phase TEXT NOT NULL);
CREATE TABLE channels (name TEXT PRIMARY KEY, taken INTEGER NOT NULL);
INSERT INTO alerts SELECT number, at, substr(text, instr(text, '] ') + 2), 1, '', '' FROM outbox;
INSERT INTO channels
  SELECT 'telegram', coalesce(min(number) FILTER (WHERE sent_at IS NULL) - 1, max(number), 0) FROM outbox;
DROP TABLE outbox;
CREATE TABLE IF NOT EXISTS mode (
  id INTEGER PRIMARY KEY CHECK (id = 1), mode TEXT NOT NULL, setting TEXT NOT NULL, changed_at TEXT NOT NULL);
""",
    """
CREATE TABLE told (key TEXT PRIMARY KEY, text TEXT NOT NULL, at TEXT NOT NULL);
""",
)

KEPT_ALERTS_SECONDS = 30 * 86400.0


class BadStore(Exception):
    """The file is not a store that this watchdog can use. Never treated as an empty one."""


def utc_now() -> str:
    """The wall clock, for people: ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(seconds: float) -> str:
    """A moment of the wall clock, in the same form."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def _storable(text: str) -> str:
    """Halves of characters, as in the name of a file that is not UTF-8, are what SQLite does not take."""
    return text.encode(errors="replace").decode()


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
            if version > len(_STEPS) or (version == 0 and tables > 0):
                raise BadStore(f"{path}: schema version {version}, this watchdog knows 1 to {len(_STEPS)}")
            if (state := self._db.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise BadStore(f"{path}: {state}")
            for number, step in enumerate(_STEPS[version:], version + 1):
                self._db.executescript(f"BEGIN;{step}PRAGMA user_version = {number};COMMIT;")
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
            (utc_now(), kind, node, epoch, _storable(reason), json.dumps(data)),
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
        """The mode that an operator has switched to; the setting, from when it is no longer what it was then."""
        row = self._db.execute("SELECT mode, setting FROM mode").fetchone()
        if row is None or row["setting"] == setting:
            return setting if row is None else str(row["mode"])
        with suppress(sqlite3.OperationalError):  # a full disk must not keep the watchdog from starting
            self._db.execute("DELETE FROM mode")
        return setting

    def save_mode(self, mode: str, setting: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO mode VALUES (1, ?, ?, ?)", (mode, setting, utc_now()))

    def add_alert(self, number: int, notice: Notice, at: float) -> None:
        """Keep an alert; ``at``: the wall clock, in seconds."""
        self._db.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?)",
            (number, utc(at), _storable(notice.text), notice.urgent, _storable(notice.key), notice.phase),
        )

    def alerts(self, after: int) -> list[tuple[int, Notice, float]]:
        """Those with a number above ``after``, with the wall clock's time of each; oldest first."""
        rows = self._db.execute("SELECT * FROM alerts WHERE number > ? ORDER BY number", (after,)).fetchall()
        return [
            (
                row["number"],
                Notice(row["text"], bool(row["urgent"]), row["key"], row["phase"]),
                _seconds(row["at"]),
            )
            for row in rows
        ]

    def last_told(self, key: str) -> float | None:
        """When the last alert with this key came up, by the wall clock in seconds; None where there was none."""
        row = self._db.execute("SELECT at FROM alerts WHERE key = ? ORDER BY number DESC LIMIT 1", (key,)).fetchone()
        return None if row is None else _seconds(row["at"])

    def told(self) -> dict[str, tuple[str, float]]:
        """The troubles that people know of: key -> text, and when they were last told, by the wall clock."""
        return {row["key"]: (row["text"], _seconds(row["at"])) for row in self._db.execute("SELECT * FROM told")}

    def save_told(self, told: Mapping[str, tuple[str, float]]) -> None:
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM told")
            rows = [(_storable(key), _storable(text), utc(at)) for key, (text, at) in told.items()]
            self._db.executemany("INSERT INTO told VALUES (?, ?, ?)", rows)

    def last_alert(self) -> int:
        """The number of the newest one; 0 where there was none. A full disk may have kept only that it was taken."""
        numbers = "SELECT number FROM alerts UNION ALL SELECT taken FROM channels"
        return int(self._db.execute(f"SELECT coalesce(max(number), 0) FROM ({numbers})").fetchone()[0])  # noqa: S608

    def keep_channels(self, names: Sequence[str]) -> None:
        """Forget all other channels; a new one takes the alerts that come from now on."""
        marks = ", ".join("?" * len(names))
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute(f"DELETE FROM channels WHERE name NOT IN ({marks})", tuple(names))  # noqa: S608 - marks only
            self._db.executemany(
                "INSERT INTO channels SELECT ?, coalesce(max(number), 0) FROM alerts WHERE true ON CONFLICT DO NOTHING",
                [(name,) for name in names],
            )

    def channels(self) -> dict[str, int]:
        """Each channel, and the number of the last alert that it has taken."""
        return {row["name"]: row["taken"] for row in self._db.execute("SELECT * FROM channels")}

    def alerts_taken(self, channel: str, number: int) -> None:
        """A channel has taken all alerts up to this one. What all have, and is old, is forgotten but for the last one
        of each key."""
        self._db.execute(
            "INSERT INTO channels VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET taken = excluded.taken",
            (channel, number),
        )
        self._db.execute(
            "DELETE FROM alerts WHERE number <= (SELECT min(taken) FROM channels) AND at < ?"
            " AND number NOT IN (SELECT max(number) FROM alerts GROUP BY key)",
            (utc(time.time() - KEPT_ALERTS_SECONDS),),
        )
