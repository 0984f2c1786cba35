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

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dualjoe import databases, merging

from . import capture_index, manifest
from .capture_index import Damaged, Files, Folder, Index, Seen, Stamp, load_made, noted, renewed
from .job import JobFailed
from .manifest import Manifest, Sum
from .memory_sets import Listing, MemorySet, copy_file, real_folder, remove_file
from .sqlite_copy import copy_sqlite, forget

_TRIES = 3
# Two writes within one tick of the kernel's clock have the same time stamp: what was written so shortly before it was
# read may have been written again. So may what was written after that, by a clock that was set back meanwhile.
_TICK_NS = 50_000_000
_NEW = ".new"
_INDEX = "index.json"


@dataclass(frozen=True)
class Captured:
    """The copy at ``tree`` as it is now, with so many ``files`` and ``bytes``. ``left_out``: paths of what is neither
    file nor folder, and is not in the copy."""

    tree: Path
    captured_at: str
    origin: Mapping[str, Any]
    content: str
    files: int
    bytes: int
    left_out: Sequence[str]

    @cached_property
    def made(self) -> Manifest:
        """The list of what is in it; it is read only where it is asked for. Raises JobFailed."""
        try:
            made = load_made(self.tree, self.content)
        except Damaged as error:
            self.tree.with_name(_INDEX).unlink(missing_ok=True)
            raise JobFailed(f"{self.tree}: {error}; the next run makes this copy anew") from error
        return replace(made, captured_at=self.captured_at, origin=self.origin)


@dataclass
class _Look:
    """What the live folders are beside the index. ``folders``: as the index is to have them; ``unread``: path in the
    copy -> live file to be read; ``gone``: paths of what is not there any more. ``looks``: of folders that have
    changed."""

    folders: dict[str, Folder] = field(default_factory=dict)
    looks: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @property
    def left_out(self) -> Sequence[str]:
        return sorted(folder + name for folder, each in self.folders.items() for name in each.left_out)


@dataclass(frozen=True)
class Capture:
    """The copy at ``tree``, its index beside it. The caller has a lock against others who read or write it."""

    tree: Path
    sets: Sequence[MemorySet]
    forget_tables: Sequence[str]

    @property
    def index(self) -> Path:
        return self.tree.with_name(_INDEX)

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
        again: Collection[str] = (),
    ) -> Captured:
        """Make the copy what the live tree is, but leave the sets called ``withheld`` as they were copied last. To the
        ``origin`` comes which sets it has.

        ``shared`` is the content that the other node's live memory was made from: while the copy still has it, its
        notes are put into ``common`` before they change. The files at ``again`` are read also where they have not
        changed: their copies are damaged. Raises JobFailed, also for what ``check_time`` raises; what was copied until
        then need not be copied again.
        """
        try:
            return self._renew(self._load(again), captured_at, check_time, origin or {}, withheld, shared)
        except Damaged:
            if self.tree.exists():
                shutil.rmtree(self.tree)
            self.tree.mkdir(mode=0o750, parents=True, exist_ok=True)
            nothing = Index(self._choice, made=Manifest("", {}))
            return self._renew(nothing, captured_at, check_time, origin or {}, withheld, shared)

    def _renew(
        self,
        index: Index,
        captured_at: str,
        check_time: Callable[[], object],
        origin: Mapping[str, Any],
        withheld: Collection[str],
        shared: str | None,
    ) -> Captured:
        """As ``renew``, from what the index tells. Raises Damaged as well, before anything is done."""
        # Of a set that is withheld and not in the copy this node says nothing.
        sets = [each.name for each in self.sets if each.name not in withheld or index.has(each.name)]
        origin = {**origin, "sets": sets}
        look = self._compare(index, withheld)
        if look.unread or look.gone or not index.content:
            made = replace(index.made or load_made(self.tree, index.content), captured_at=captured_at, origin=origin)
            self._remember(made, {*look.gone, *look.unread}, bool(index.content) and index.content == shared)
            self.index.unlink(missing_ok=True)
            self._drop(look.gone)
            index = self._read_all(look, made, check_time)
        elif look.folders != index.folders:
            index = replace(index, folders=look.folders)
            index.store(self.index)
        return self._captured(index, look, captured_at, origin)

    def secure(self, found: Captured, paths: Iterable[str], check_time: Callable[[], object]) -> None:
        """See that the copies of these files are whole: they are about to be all that is left of them. A power cut
        takes what was copied shortly before, though not the index; that is read again. Raises JobFailed."""
        if damaged := [path for path in paths if not _is_whole(self.tree / path, found.made.sums[path])]:
            self.renew(found.captured_at, check_time, again=damaged)

    def unchanged(self) -> Captured | None:
        """The copy, if it still is what the live tree is. Raises JobFailed."""
        try:
            index = self._load()
            look = self._compare(index)
        except Damaged:
            return None
        if look.unread or look.gone or not index.content:
            return None
        if look.folders != index.folders:
            replace(index, folders=look.folders).store(self.index)
        return self._captured(index, look, "", {})

    def _captured(self, index: Index, look: _Look, captured_at: str, origin: Mapping[str, Any]) -> Captured:
        return Captured(self.tree, captured_at, origin, index.content, index.count, index.bytes, look.left_out)

    def _compare(self, index: Index, withheld: Collection[str] = ()) -> _Look:
        """Look at the live folders. Raises JobFailed."""
        found = _Look()
        for each in self.sets:
            if each.name in withheld:
                found.folders |= {name: one for name, one in index.folders.items() if name.startswith(f"{each.name}/")}
                continue
            try:
                for above, listing in each.folders():
                    self._compare_folder(index, found, f"{each.name}/{above}", f"{each.path}/{above}", listing)
            except OSError as error:
                raise JobFailed(f"{error.filename}: {error.strerror}; the memory cannot be read") from error
        for name in index.folders.keys() - found.folders.keys():
            found.gone.update(index.paths(name))
        return found

    def _compare_folder(self, index: Index, found: _Look, name: str, live: str, listing: Listing) -> None:
        was, look = index.folders.get(name), listing.look
        if was and was.look == look:
            found.folders[name] = was
            return
        known = was.files if was else {}
        files: Files = {}
        left_out = []
        for file, status in listing.chosen():
            if not stat.S_ISREG(status.st_mode):
                left_out.append(file)
                continue
            stamp, database = known.get(file, (None, False))
            if stamp is None or _stamp(live + file, status, database) != stamp:
                stamp, found.unread[name + file] = None, live + file
            files[file] = stamp, database
        found.gone.update(name + file for file in known.keys() - files.keys())
        if files or left_out:
            found.folders[name], found.looks[name] = Folder.of(look, left_out, files), look

    def _read_all(self, look: _Look, made: Manifest, check_time: Callable[[], object]) -> Index:
        """Copy what is to be read. ``made``: what the copy had. Where that is cut off, what was copied counts the next
        time, and the index still has the rest as to be read."""
        read: dict[str, Seen | None] = dict.fromkeys(look.gone)
        try:
            for name, live in look.unread.items():
                read[name] = self._read(name, Path(live), check_time)
                if read[name] is None:
                    self._drop([name])
        except (JobFailed, OSError):
            with suppress(OSError):
                self._write(look.folders, look.looks, made, read)
            raise
        return self._write(look.folders, look.looks, made, read)

    def _write(
        self,
        folders: Mapping[str, Folder],
        looks: Mapping[str, str],
        made: Manifest,
        read: Mapping[str, Seen | None],
    ) -> Index:
        """Write manifest and index of the copy, with files as they were read."""
        made = renewed(made, read)
        made.write(self.tree)
        index = Index(self._choice, made.content, len(made.sums), made.bytes, noted(folders, looks, read))
        index.store(self.index)
        return index

    def adopt(self, made: Manifest, gone: Collection[str], files: Iterable[tuple[str, Path, Path, Sum]]) -> str:
        """Note that live files were just removed, and others made from copies: (path, live file, copy, its sum) each.
        ``made``: what was captured before. Returns the content that there is then."""
        try:
            return self._adopt(self._load(), made, gone, files)
        except Damaged as error:
            raise JobFailed(f"{self.tree}: {error}; the next run makes this copy anew") from error

    def _adopt(
        self, index: Index, made: Manifest, gone: Collection[str], files: Iterable[tuple[str, Path, Path, Sum]]
    ) -> str:
        """As ``adopt``. Raises Damaged where a folder's line in the index makes no sense."""
        self.index.unlink(missing_ok=True)
        self._drop(gone)
        read: dict[str, Seen | None] = dict.fromkeys(gone)
        for name, live, copy, wanted in files:
            status = live.stat()
            real_folder(self.tree, name, 0o750)
            target = self.tree / name
            target.unlink(missing_ok=True)
            share_file(copy, target)
            database = databases.is_database(copy)
            stamp = _stamp(live, status, database)
            read[name] = Seen(stamp, database, wanted, stat.S_IMODE(status.st_mode) & 0o700)
        return self._write(index.folders, {}, made, read).content

    @property
    def _choice(self) -> str:
        """What the sets choose, and where: a folder's look tells of files, and not which of them are memory."""
        told = [[each.name, str(each.path), each.selection.include, each.selection.exclude] for each in self.sets]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _remember(self, made: Manifest, names: Collection[str], anew: bool) -> None:
        """Put the notes among ``names``, which are about to change, into ``common``. ``anew``: the copy is what both
        nodes have. The manifest comes last, so that ``common`` counts only when it is whole."""
        if anew:
            if self.common.exists():
                shutil.rmtree(self.common)
            self.common.mkdir(mode=0o750)
            sums = made.sums
        elif not names:
            return
        else:
            try:
                sums = manifest.load(self.common).sums
            except manifest.ManifestError:
                return
        for name in names:
            kept = self.common / name
            if merging.kind(name) != "other" and name in made.sums and made.sums[name] == sums.get(name):
                real_folder(self.common, name, 0o750)
                if not kept.exists():
                    share_file(self.tree / name, kept)
        if anew:
            share_file(self.tree / manifest.NAME, self.common / manifest.NAME)

    def _read(self, name: str, live: Path, check_time: Callable[[], object]) -> Seen | None:
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
        return Seen(stamp, database, found, stat.S_IMODE(status.st_mode) & 0o700)

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
            remove_file(self.tree, name)

    def _load(self, again: Collection[str] = ()) -> Index:
        """The index, of which the files at ``again`` do not count. Raises Damaged."""
        if manifest.NAME in again or not (self.tree / manifest.NAME).is_file():  # without it the rest tells nothing
            raise Damaged(f"{manifest.NAME} is missing")
        return capture_index.load(self.index, self._choice).without(again)


def _is_whole(copy: Path, wanted: Sum) -> bool:
    try:
        return manifest.sum_of(copy) == wanted
    except OSError:
        return False


def _stamp(live: str | Path, status: os.stat_result, database: bool) -> Stamp:
    """What changes whenever the file is written to."""
    stamp = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if database:
        for sidecar in databases.sidecars(Path(live))[:1]:
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
