"""Copy folders of containers into an export beside the last one. What has not changed since is not read again.

For each entry the index has a line: what the file was when it was read (inode, size, and the times of its last write
and last change), its path, and its line in the catalog. A file that is as the index says was not written to since: it
is linked from the last export, and its lines are written again as they were. Old index and new one are read and
written side by side, in the order of the catalog; one folder's names are all that is held at a time.

Every step goes by descriptors and follows no link: nobody inside a container can lead root out of its volume.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dualjoe import catalog
from dualjoe.catalog import Entry
from dualjoe.selection import Selection

from .container import HookFailed, Place, open_file

_TRIES = 3
_TICK_NS = 50_000_000  # what was written so shortly before it was read may be written again unseen: see capture.py
_CHUNK_BYTES = 1 << 20
_HOLE_BYTES = 1 << 16
_BLOCK_BYTES = 4096
_UNCHECKED_BYTES = 64 << 20  # so much is written between two looks at the disk
_ZEROS = bytes(_HOLE_BYTES)
_TIMES = (1 << 63) - 1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})  # or another thing now
_KEPT_ATTRIBUTES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
_TYPES = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "character", stat.S_IFBLK: "block"}
_NONE = -1
_UNKNOWN = b"-"
_TOLD = 20  # names
_TOLD_CHARACTERS = 200
# What lies deeper could not be removed again, or fetched; no program meets such a path unless it means to.
_MOST_LEVELS = 300
_MOST_PATH_BYTES = 3500


class _Before:
    """The index of the last export, asked for one path after the other in their order."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._key: bytes | None = b""
        self._found = (b"", b"")

    def find(self, key: bytes) -> tuple[bytes, bytes]:
        """The stamp and the whole line of the entry with this key; two times nothing where there is none."""
        while self._key is not None and self._key < key:
            line = next(self._lines, b"")
            try:
                stamp, _, path = line[: line.index(b"\t")].partition(b" ")
                # A path without an escape is its own bytes.
                plain = path[1:-1] if b"\\" not in path else os.fsencode(json.loads(path))
                self._key, self._found = plain.replace(b"/", b"\0"), (stamp, line)
            except ValueError:  # the end, or it makes no sense: what follows is read
                self._key = None
        return self._found if self._key == key else (b"", b"")


@dataclass
class _Level:
    """A folder on the way down: its descriptors at the source, in the new export and in the last one."""

    path: str
    key: bytes
    source: int
    target: int
    previous: int
    names: Iterator[str] = field(default_factory=lambda: iter(()))

    def close(self) -> None:
        for descriptor in (self.source, self.target, self.previous):
            if descriptor != _NONE:
                os.close(descriptor)


@dataclass
class FolderCopy:
    """Copies one folder after the other, in the catalog's order, below ``data``; ``previous`` is the same place in the
    last export, ``before`` the lines of its index; the new index goes to ``index``.

    ``files`` and ``total_bytes`` count what was copied; ``unsteady`` has the paths of files that were being written to
    at each of three readings, the first of many.
    """

    data: Path
    previous: Path
    before: Iterable[bytes]
    index: BinaryIO
    check_time: Callable[[], object]
    check_room: Callable[[], object]
    files: int = 0
    total_bytes: int = 0
    unsteady: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._before = _Before(self.before)
        self._first_names: dict[tuple[int, int], tuple[str, int]] = {}
        self._selection: Selection | None = None
        self._root = ""
        self._entries = 0
        self._unchecked = 0

    def copy(self, place: Place, path: str, exclude: Iterable[str] = ()) -> int:
        """Copy the folder or file at ``place`` to ``path`` below data. Returns how many entries it has; raises
        HookFailed, OSError.

        ``exclude``: see selection.py; the paths are relative to the place."""
        began = self._entries
        above, _, name = path.rpartition("/")
        (self.data / above).mkdir(mode=0o750, parents=True, exist_ok=True)
        patterns = list(exclude)
        self._selection = Selection(["**"], patterns) if patterns else None
        self._root = f"{path}/"
        source, called = place.open_above()
        key = catalog.order(f"{above}/")
        level = _Level(f"{above}/", key, source, _open(self.data / above), _open(self.previous / above))
        stack = [level]
        try:
            if not self._take(level, name, called, stack):
                raise HookFailed(f"{place.path} went away")
            while stack:
                level = stack[-1]
                for name in level.names:
                    if self._take(level, name, name, stack) and stack[-1] is not level:
                        break
                else:
                    stack.pop().close()
        finally:
            for level in stack:
                level.close()
        return self._entries - began

    def _take(self, level: _Level, name: str, called: str, stack: list[_Level]) -> bool:
        """Copy what is called ``called`` at the source; a folder goes on the stack. False when it went away."""
        path = level.path + name
        self.check_time()
        if len(stack) > _MOST_LEVELS or len(level.key) + len(os.fsencode(name)) > _MOST_PATH_BYTES:
            raise HookFailed(f"{path[:_TOLD_CHARACTERS]}...: it lies too deep to be saved; move it, or exclude it")
        try:
            status = os.stat(called, dir_fd=level.source, follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if self._selection and len(path) >= len(self._root) and not self._is_chosen(path, kind):
                return True
            if kind == stat.S_IFREG:
                self._file(level, name, called, path, status)
            elif kind == stat.S_IFDIR:
                stack.append(self._folder(level, name, called, path))
            elif kind == stat.S_IFLNK:
                self._write(_entry(path, "symlink", status, target=os.readlink(called, dir_fd=level.source)))
            elif kind in _TYPES:
                is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)  # 0:0 is one as well: what overlayfs calls removed
                device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None
                self._write(_entry(path, _TYPES[kind], status, device=device))
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise HookFailed(f"{path}: {error.strerror}") from error
        return True

    def _is_chosen(self, path: str, kind: int) -> bool:
        relative = path[len(self._root) :]
        chosen = self._selection
        return chosen is None or (chosen.enters(relative) if kind == stat.S_IFDIR else chosen.takes(relative))

    def _folder(self, level: _Level, name: str, called: str, path: str) -> _Level:
        source = os.open(called, _FOLDER, dir_fd=level.source)
        below = _Level(f"{path}/", level.key + os.fsencode(name) + b"\0", source, _NONE, _NONE)
        try:
            self._write(_entry(path, "directory", os.fstat(source), xattrs=_attributes(source)))
            os.mkdir(name, 0o750, dir_fd=level.target)
            below.target = os.open(name, _FOLDER, dir_fd=level.target)
            if level.previous != _NONE:
                try:
                    below.previous = os.open(name, _FOLDER, dir_fd=level.previous)
                except OSError:  # it was not there
                    below.previous = _NONE
            below.names = iter(_sorted(os.listdir(source)))
        except BaseException:
            below.close()
            raise
        return below

    def _file(self, level: _Level, name: str, called: str, path: str, status: os.stat_result) -> None:
        if status.st_nlink > 1 and (first := self._first_name(status)):
            self._write(_entry(path, "file", status, link=first))
            return
        if not self._share(level, name, status):
            status = self._read(level, name, called, path)
        if status.st_nlink > 1:
            self._first_names[status.st_dev, status.st_ino] = (path, status.st_nlink - 1)

    def _first_name(self, status: os.stat_result) -> str:
        """Of a file with several names, the one under which it was copied. Forgotten when all have been met."""
        identity = (status.st_dev, status.st_ino)
        first, left = self._first_names.pop(identity, ("", 0))
        if left > 1:
            self._first_names[identity] = (first, left - 1)
        return first

    def _share(self, level: _Level, name: str, status: os.stat_result) -> bool:
        """Have a file that is as it was from the last export. Whether that was possible."""
        if level.previous == _NONE:
            return False
        stamp, line = self._before.find(level.key + os.fsencode(name))
        if stamp != _stamp(status):
            return False
        try:
            os.link(name, name, src_dir_fd=level.previous, dst_dir_fd=level.target, follow_symlinks=False)
        except OSError:  # not there, or with as many links as it may have
            return False
        self.index.write(line)
        self._entries += 1
        self.files += 1
        self.total_bytes += status.st_size
        return True

    def _read(self, level: _Level, name: str, called: str, path: str) -> os.stat_result:
        """Copy a file. What is written to all the time is kept as it was read last. Returns what it was then."""
        for _ in range(_TRIES):
            began = time.time_ns()
            source = open_file(called, level.source)
            try:
                status = os.fstat(source)
                size, sha, sparse = self._bytes(source, level.target, name, status)
                attributes = _attributes(source)
                steady = _stamp(os.fstat(source)) == _stamp(status)
            finally:
                os.close(source)
            if steady:
                break
        stamp = _stamp(status)
        if not steady or max(status.st_mtime_ns, status.st_ctime_ns) > began - _TICK_NS:
            stamp = _UNKNOWN
        if not steady and len(self.unsteady) < _TOLD:
            self.unsteady.append(path)
        entry = _entry(path, "file", status, size=size, sha256=sha, sparse=sparse, xattrs=attributes)
        self._write(entry, stamp)
        self.files += 1
        self.total_bytes += size
        return status

    def _bytes(self, source: int, target: int, name: str, status: os.stat_result) -> tuple[int, str, bool]:
        """Write what ``source`` is open on to a new file. Returns its size, its SHA-256, and whether it has holes."""
        digest, size, sparse = hashlib.sha256(), 0, False
        may_have_holes = status.st_blocks * 512 < status.st_size
        chunk_bytes = _HOLE_BYTES if may_have_holes else max(1, min(status.st_size + 1, _CHUNK_BYTES))
        new = os.open(name, _NEW, 0o640, dir_fd=target)
        try:
            while chunk := os.read(source, chunk_bytes):
                digest.update(chunk)
                if may_have_holes and chunk == _ZEROS[: len(chunk)]:
                    sparse = True
                else:
                    _write_at(new, chunk, size)
                size += len(chunk)
                self._use(len(chunk))
                if len(chunk) < chunk_bytes and size >= status.st_size:  # the end
                    break
                self.check_time()
            if sparse:
                os.ftruncate(new, size)
        finally:
            os.close(new)
        return size, digest.hexdigest(), sparse

    def _use(self, size: int) -> None:
        """So much of the disk is taken, which is looked at now and then. Files take whole blocks."""
        self._unchecked += max(size, _BLOCK_BYTES)
        if self._unchecked >= _UNCHECKED_BYTES:
            self._unchecked = 0
            self.check_room()

    def _write(self, entry: Entry, stamp: bytes = _UNKNOWN) -> None:
        self._entries += 1
        self.index.write(b"%s %s\t%s" % (stamp, json.dumps(entry.path).encode("ascii"), catalog.line(entry)))


def catalog_lines(index: Iterable[bytes]) -> Iterator[bytes]:
    """The catalog's lines, of an index's."""
    for line in index:
        yield line[line.index(b"\t") + 1 :]


def _open(folder: Path) -> int:
    try:
        return os.open(folder, _FOLDER)
    except FileNotFoundError:
        return _NONE


def _sorted(names: list[str]) -> list[str]:
    names.sort(key=None if "".join(names).isascii() else os.fsencode)
    return names


def _stamp(status: os.stat_result) -> bytes:
    """What changes whenever a file is written to, or its owner, mode or attributes are changed."""
    return b"%d:%d:%d:%d" % (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _entry(path: str, kind: str, status: os.stat_result, **more: Any) -> Entry:
    mtime_ns = max(-_TIMES, min(_TIMES, status.st_mtime_ns))
    return Entry(path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, mtime_ns, **more)


def _attributes(descriptor: int) -> dict[str, str]:
    """The extended attributes that are kept, in base64."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {
        name: base64.b64encode(os.getxattr(descriptor, name)).decode("ascii")
        for name in names
        if name.startswith("user.") or name in _KEPT_ATTRIBUTES
    }


def _write_at(descriptor: int, chunk: bytes, offset: int) -> None:
    while chunk:
        written = os.pwrite(descriptor, chunk, offset)
        chunk, offset = chunk[written:], offset + written
