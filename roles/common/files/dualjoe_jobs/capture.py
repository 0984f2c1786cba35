"""A copy of the live memory that is renewed in place: only what has changed since the last time is read.

What a file was when it was last read stands in an index: inode, size, and the times of its last write and last change
in nanoseconds; of a database's write-ahead log all but the last. A file that is as the index says was not written to
since. The index is removed before the copy is touched and written when it is whole: a killed run is followed by a whole
one.

Databases are copied by SQLite's online backup, never byte by byte, and without the rows of tables that belong to a
running gateway (``forget_tables``).

Beside the copy lies ``common``, for the merge of memory that both nodes have changed: of the content that the other
node has brought into its own live tree, the notes that have changed here since. What has not changed is in the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import databases, merging

from . import manifest
from .durable import write_json
from .job import JobFailed
from .manifest import Manifest, Sum
from .memory_sets import MemorySet, copy_file, real_folder
from .sqlite_copy import copy_sqlite, forget

_VERSION = 1
_TRIES = 3
# Two writes within one tick of the kernel's clock have the same time stamp: what was written so shortly before it was
# read may have been written again. So may what was written after that, by a clock that was set back meanwhile.
_TICK_NS = 50_000_000
_PLAIN_MODE = 0o600
_NEW = ".new"

Stamp = Sequence[int]


@dataclass(frozen=True)
class _Seen:
    """A file as it was read. Without a ``stamp`` it must be read again."""

    stamp: Stamp | None
    database: bool
    sum: Sum
    mode: int


@dataclass(frozen=True)
class Captured:
    """The copy as it is now. ``left_out``: paths of what is neither file nor folder, and is not in the copy."""

    made: Manifest
    content: str
    left_out: Sequence[str]


@dataclass(frozen=True)
class Capture:
    """The copy at ``tree``, its index beside it. The caller has a lock against others who read or write it."""

    tree: Path
    sets: Sequence[MemorySet]
    forget_tables: Sequence[str]

    @property
    def index(self) -> Path:
        return self.tree.with_name("index.json")

    @property
    def common(self) -> Path:
        return self.tree.with_name("common")

    def renew(
        self,
        captured_at: str,
        check_time: Callable[[], object],
        origin: Mapping[str, Any] | None = None,
        withheld: Collection[str] = (),
        shared: str | None = None,
    ) -> Captured:
        """Make the copy what the live tree is, but leave the sets called ``withheld`` as they were copied last.

        ``shared`` is the content that the other node's live memory was made from: while the copy still has it, its
        notes are put into ``common`` before they change. Raises JobFailed, also for what ``check_time`` raises.
        """
        known, content = self._load()
        seen: dict[str, _Seen] = {}
        unread: list[tuple[str, Path]] = []
        left_out: list[str] = []
        for each in self.sets:
            if each.name in withheld:
                seen |= {path: one for path, one in known.items() if path.startswith(f"{each.name}/")}
                continue
            try:
                for path, status in each.walk():
                    name = f"{each.name}/{path}"
                    if not stat.S_ISREG(status.st_mode):
                        left_out.append(name)
                        continue
                    before, live = known.get(name), each.path / path
                    if before and before.stamp and _stamp(live, status, before.database) == before.stamp:
                        seen[name] = before
                    else:
                        unread.append((name, live))
            except OSError as error:
                raise JobFailed(f"{error.filename}: {error.strerror}; the memory cannot be read") from error
        gone = known.keys() - seen.keys() - {name for name, _ in unread}
        changed = bool(unread or gone or not content)
        if changed:
            self._remember(known, gone | {name for name, _ in unread}, bool(content) and content == shared)
            self.index.unlink(missing_ok=True)
            self._drop(gone)
            for name, live in unread:
                one = self._read(name, live, check_time)
                if one:
                    seen[name] = one
                else:
                    self._drop([name])
        made = Manifest(
            captured_at,
            {path: one.sum for path, one in seen.items()},
            origin or {},
            modes={path: one.mode for path, one in seen.items() if one.mode != _PLAIN_MODE},
        )
        if changed:
            content = made.content
            made.write(self.tree)
            self._store(seen, content)
        return Captured(made, content, tuple(sorted(left_out)))

    def adopt(self, files: Iterable[tuple[str, Path, Path, Sum]]) -> None:
        """Note that live files were just made from copies: (path, live file, copy, its sum) each."""
        known, _ = self._load()
        self.index.unlink(missing_ok=True)
        for name, live, copy, wanted in files:
            status = live.stat()
            real_folder(self.tree, name, 0o750)
            target = self.tree / name
            target.unlink(missing_ok=True)
            share_file(copy, target)
            database = databases.is_database(copy)
            known[name] = _Seen(_stamp(live, status, database), database, wanted, stat.S_IMODE(status.st_mode) & 0o700)
        known = {name: one for name, one in known.items() if (self.tree / name).is_file()}
        self._store(known, "")

    def _remember(self, known: Mapping[str, _Seen], names: Collection[str], anew: bool) -> None:
        """Put the notes among ``names``, which are about to change, into ``common``. ``anew``: the copy is what both
        nodes have. The manifest comes last, so that ``common`` counts only when it is whole."""
        if anew:
            if self.common.exists():
                shutil.rmtree(self.common)
            self.common.mkdir(mode=0o750)
            sums = {name: one.sum for name, one in known.items()}
        elif not names:
            return
        else:
            try:
                sums = dict(manifest.load(self.common).sums)
            except manifest.ManifestError:
                return
        for name in names:
            kept = self.common / name
            if merging.kind(name) != "other" and name in known and known[name].sum == sums.get(name):
                real_folder(self.common, name, 0o750)
                if not kept.exists():
                    share_file(self.tree / name, kept)
        if anew:
            share_file(self.tree / manifest.NAME, self.common / manifest.NAME)

    def _read(self, name: str, live: Path, check_time: Callable[[], object]) -> _Seen | None:
        """Copy one file. None when it went away meanwhile."""
        real_folder(self.tree, name, 0o750)
        new = self.tree / _NEW
        try:
            for _ in range(_TRIES):
                new.unlink(missing_ok=True)
                began = time.time_ns()
                status = live.lstat()
                database = databases.is_database(live)
                stamp = _stamp(live, status, database)
                found = self._copy(live, new, database, check_time)
                after = live.lstat()
                if stat.S_ISREG(after.st_mode) and _stamp(live, after, database) == stamp:
                    break
            else:  # it is written to all the time: what was read is as good as any
                stamp = None
            if stamp and _last_written(stamp) > began - _TICK_NS:
                stamp = None
            new.chmod(0o640)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            new.replace(self.tree / name)
        except FileNotFoundError:
            if live.exists():
                raise
            return None
        except OSError as error:
            raise JobFailed(f"{live}: {error.strerror}; the memory cannot be copied") from error
        finally:
            new.unlink(missing_ok=True)
        return _Seen(stamp, database, found, stat.S_IMODE(status.st_mode) & 0o700)

    def _copy(self, live: Path, new: Path, database: bool, check_time: Callable[[], object]) -> Sum:
        if not database:
            return copy_file(live, new, check_time)
        try:
            copy_sqlite(live, new, check_time)
            forget(new, self.forget_tables)
        except sqlite3.Error as error:
            raise JobFailed(f"{live}: {error}; the database cannot be copied") from error
        return manifest.sum_of(new)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            gone = self.tree / name
            gone.unlink(missing_ok=True)
            for folder in gone.relative_to(self.tree).parents:
                if folder == Path():
                    break
                try:
                    (self.tree / folder).rmdir()
                except OSError:  # something is left in it
                    break

    def _load(self) -> tuple[dict[str, _Seen], str]:
        """The index; without a sensible one the copy is begun anew."""
        try:
            (self.tree / manifest.NAME).stat()  # what the index tells of must be there
            raw: Mapping[str, Any] = json.loads(self.index.read_text("utf-8"))
            files = {_VERSION: raw["files"]}[raw["version"]]
            known = {
                path: _Seen(stamp, bool(database), (int(size), str(sha)), int(mode))
                for path, (stamp, database, size, sha, mode) in files.items()
            }
            return known, str(raw["content"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            if self.tree.exists():
                shutil.rmtree(self.tree)
            self.tree.mkdir(mode=0o750, parents=True, exist_ok=True)
            return {}, ""

    def _store(self, seen: Mapping[str, _Seen], content: str) -> None:
        files = {path: [one.stamp, one.database, *one.sum, one.mode] for path, one in seen.items()}
        write_json(self.index, {"version": _VERSION, "content": content, "files": files})


def _stamp(live: Path, status: os.stat_result, database: bool) -> Stamp:
    """What changes whenever the file is written to."""
    stamp = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if database:
        for sidecar in databases.sidecars(live)[:1]:
            try:
                log = sidecar.lstat()
                stamp += [log.st_ino, log.st_size, log.st_mtime_ns]  # as root, SQLite changes it when it only reads
            except FileNotFoundError:
                pass
    return stamp


def _last_written(stamp: Stamp) -> int:
    """The latest of its times, in nanoseconds."""
    return max(*stamp[2:4], *stamp[6:])


def share_file(copy: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Let ``target`` be the same file as ``copy``, which never changes; a copy of it where there are too many links."""
    try:
        os.link(copy, target, follow_symlinks=False)
    except OSError:
        copy_file(Path(copy), Path(target), lambda: None)
