"""How the pair was in the last seven days, for graphs: one sample of each node a minute.

A file of its own, beside the store: nothing depends on it, so what goes wrong with it is logged and else ignored.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dualjoe import freshness, probes

log = logging.getLogger("dualjoe-watchdog")

SAMPLE_SECONDS = 60.0
KEEP_SECONDS = 7 * 86400
MAX_POINTS = 400  # of one answer
_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
  at INTEGER NOT NULL, node TEXT NOT NULL, active INTEGER NOT NULL, memory_age REAL, backup_age REAL, check_time REAL,
  PRIMARY KEY (at, node)) WITHOUT ROWID
"""


class History:
    """One SQLite file. ``wall``: the wall clock, in seconds. No method raises."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._db: sqlite3.Connection | None = None

    async def keep(self, nodes: Callable[[], Mapping[str, Any]]) -> None:
        """Take a sample of the ``nodes``, as the status tells of them, every minute until cancelled."""
        while True:
            self.add(nodes())
            await asyncio.sleep(SAMPLE_SECONDS)

    def add(self, nodes: Mapping[str, Any]) -> None:
        """Keep how the nodes are now, and forget what is older than seven days."""
        now = int(self._wall())
        rows = [(now, name, *_sample(node)) for name, node in nodes.items()]
        try:
            with self._open() as db:
                db.execute("DELETE FROM samples WHERE at < ? OR at > ?", (now - KEEP_SECONDS, now))
                db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._failed(error)

    def points(self, seconds: float, count: int) -> Iterator[dict[str, Any]]:
        """The last so many seconds in at most ``count`` steps, oldest first: of each step and node the worst.

        ``at`` is the step's end in seconds of the wall clock; ages and times are in seconds, None where nothing was
        told; ``active`` says whether the node served at any time of it. A step without a sample is left out.
        """
        now = int(self._wall())
        step = max(1, round(seconds / count))
        query = (
            "SELECT ? - (? - at) / ? * ? AS ends, node, max(active), max(memory_age), max(backup_age), max(check_time)"
            " FROM samples WHERE at > ? AND at <= ? GROUP BY ends, node ORDER BY ends, node"
        )
        try:
            rows = self._open().execute(query, (now, now, step, step, now - step * count, now)).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return
        nodes: dict[int, dict[str, Any]] = {}
        for ends, node, active, memory, backup, check in rows:
            told = {"active": bool(active), "memory_age": memory, "backup_age": backup, "check_time": check}
            nodes.setdefault(ends, {})[node] = told
        for ends, each in nodes.items():
            yield {"at": ends, "nodes": each}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            db = sqlite3.connect(self._path, timeout=0.1)
            try:
                db.execute("PRAGMA journal_mode = WAL")  # with it and NORMAL, a sample waits for no disk
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(_SCHEMA)
            except sqlite3.Error:
                db.close()
                raise
            self._db = db
        return self._db

    def _failed(self, error: sqlite3.Error) -> None:
        """Begin anew where the file is damaged; whatever else it is, perhaps it is over in a minute."""
        log.warning("%s: the graphs miss a sample: %s", self._path, error)
        self.close()
        if not isinstance(error, sqlite3.OperationalError):
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _sample(node: Mapping[str, Any]) -> tuple[bool, float | None, float | None, float | None]:
    """active, age of the memory and of the last backup there, and how long its last check took; all in seconds."""
    if not node["heard"]:
        return False, None, None, None
    probe = node["probe"]
    active = probe.get("role") == "active"
    age = None if active else probes.memory_age(probe)
    return active, _seconds(age), _seconds(freshness.captured_age("backup", probe)), _seconds(node["check_seconds"])


def _seconds(value: object) -> float | None:
    """What a node told, if it is a number that can be drawn."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e10
    return round(float(value), 3) if good else None  # type: ignore[arg-type]
