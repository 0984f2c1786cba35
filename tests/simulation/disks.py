"""Disks that lose, at a power cut, what was not made durable: the nodes' epoch file and T440's store."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dualjoe_watchdog.store import Store

EXTRA = 3  # of SQLite's PRAGMA synchronous: with a rollback journal, less may lose the last commit


class Folder:
    """A node's folder. A file is on disk as it was when it was synced last, under the names that the folder had when it
    was synced last."""

    def __init__(self, path: Path, synced: Callable[[], None]) -> None:
        self.path = path
        self._told = synced
        self._contents: dict[int, bytes] = {}  # inode -> what the disk has of it
        self._names: dict[str, int] = {}

    def install(self) -> None:
        """All that is there now was written long ago."""
        for file in self.path.iterdir():
            self._contents[file.stat().st_ino] = file.read_bytes()
            self._names[file.name] = file.stat().st_ino

    def synced(self, descriptor: int) -> None:
        """In place of ``os.fsync``."""
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        status = os.fstat(descriptor)
        if target == self.path and stat.S_ISDIR(status.st_mode):
            self._names = {file.name: file.stat().st_ino for file in self.path.iterdir()}
            self._told()
        elif target.parent == self.path:
            self._contents[status.st_ino] = target.read_bytes()

    def power_cut(self) -> None:
        """Fall back to what the disk has; a file whose content never got there is empty."""
        left = {name: self._contents.get(inode, b"") for name, inode in self._names.items()}
        for file in self.path.iterdir():
            file.unlink()
        for name, content in left.items():
            (self.path / name).write_bytes(content)
        self._contents, self._names = {}, {}
        self.install()


class Shelf:
    """T440's disk with the watchdog's store on it."""

    def __init__(self, stored: Callable[[Any], None], told: Callable[[str, str | None, str], None]) -> None:
        self._stored = stored
        self._told = told
        self.replace_by_empty()

    def replace_by_empty(self) -> None:
        """A new T440."""
        self._durable = b""
        self.store = self._open()

    def _open(self) -> Store:
        store = Store(Path(":memory:"))
        save, tell, switch = store.save_record, store.add_event, store.save_mode

        def save_record(record: Any) -> None:
            save(record)
            self._note(store._db)
            self._stored(record)

        def add_event(kind: str, reason: str, node: str | None, *more: Any) -> None:
            tell(kind, reason, node, *more)
            self._told(kind, node, reason)

        def save_mode(*what: str) -> None:
            switch(*what)
            self._note(store._db)

        store.save_record, store.add_event = save_record, add_event  # type: ignore[method-assign,assignment]
        store.save_mode = save_mode  # type: ignore[method-assign,assignment]
        return store

    def _note(self, database: sqlite3.Connection) -> None:
        """What is committed, and was waited for, is on disk."""
        if not database.in_transaction and self._synchronous(database) >= EXTRA:
            self._durable = database.serialize()

    @staticmethod
    def _synchronous(database: sqlite3.Connection) -> int:
        return int(database.execute("PRAGMA synchronous").fetchone()[0])

    def process_killed(self) -> None:
        """An open transaction is gone; what was committed is still there, in the kernel's hands at least."""
        self.store._db.rollback()

    def power_cut(self) -> None:
        """Fall back to what the disk has."""
        self.store.close()
        self.store = self._open()
        if self._durable:
            careful = self._synchronous(self.store._db)
            self.store._db.deserialize(self._durable)
            self.store._db.execute(f"PRAGMA synchronous = {careful}")  # the setting is the connection's, not the file's
