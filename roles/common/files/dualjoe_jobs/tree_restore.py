"""Bring a container's tree, or a part of it, out of a snapshot, as its catalog says it was.

Every file's sum is checked on the way. Nothing that is there is overwritten: the target is new, or an empty folder.
Nothing is followed either: below what is no folder a catalog has nothing, or it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dualjoe import catalog
from dualjoe.catalog import CatalogError, Entry
from dualjoe.names import shown

from .job import JobFailed

CATALOG, DATA = "catalog.jsonl", "data"

_CHUNK_BYTES = 1 << 20
_HOLE_BYTES = 1 << 16
_ZEROS = bytes(_HOLE_BYTES)
_TOLD = 20  # so many names of what was left out are kept


@dataclass
class Placed:
    """What came to be: so many ``files`` with so many ``bytes``. ``left_out``: what could not, for people; the first of
    it."""

    files: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, path: str, why: str) -> None:
        """Note that something is not there."""
        if len(self.left_out) < _TOLD:
            self.left_out.append(f"{shown(path)}: {why}")


def place(container: Path, target: Path, owners: bool, below: str = "") -> Placed:
    """Make ``target`` what the catalog in ``container`` (a snapshot's folder of one) says of ``below``, a path in it.

    With modes, times, symlinks, hard links, holes, fifos and extended attributes; as root with ``owners``, device files
    and what only root may set as well. Raises JobFailed, also for a damaged file, with what was placed until then left
    there. The caller syncs it.
    """
    try:
        return _Placing(container, target, owners, below).run()
    except CatalogError as error:
        raise JobFailed(f"the catalog of {container} makes no sense: {error}") from error


@contextmanager
def entries(container: Path) -> Iterator[Iterator[Entry]]:
    """The entries of the catalog in a container's folder. Raises CatalogError and OSError while they are read."""
    with (container / CATALOG).open("rb") as file:
        yield catalog.read(file)


@dataclass
class _Placing:
    container: Path
    target: Path
    owners: bool
    below: str
    placed: Placed = field(default_factory=Placed)
    # The first names, outside of what is placed, of files that are placed under further ones, and these.
    brought: dict[str, str] = field(default_factory=dict)

    def run(self) -> Placed:
        folders: list[Entry] = []  # those whose files are being placed; what was written into them changes their times
        parent = None
        found = False
        self._check_target()
        with entries(self.container) as listed:
            for entry in catalog.within(listed, self.below):
                found = True
                while folders and not entry.path.startswith(f"{folders[-1].path}/"):
                    self._finish(folders.pop())
                path = self._at(entry.path)
                if os.path.dirname(path) != parent:
                    parent = os.path.dirname(path)
                    os.makedirs(parent, exist_ok=True)
                if entry.type == "directory":
                    self._make_folder(path)
                    folders.append(entry)
                else:
                    self._place(entry, path)
        while folders:
            self._finish(folders.pop())
        if not found:
            raise JobFailed(f"there is no {shown(self.below)} in {self.container.name}")
        return self.placed

    def _at(self, path: str) -> str:
        return f"{self.target}/{path[len(self.below) :].lstrip('/')}".rstrip("/")

    def _check_target(self) -> None:
        """Raise JobFailed unless it is new, or an empty folder."""
        if os.path.lexists(self.target) and (
            self.target.is_symlink() or not self.target.is_dir() or os.listdir(self.target)
        ):
            raise JobFailed(f"{self.target} is there already; name a new place, or an empty folder")

    def _make_folder(self, path: str) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if path != str(self.target):
                raise

    def _place(self, entry: Entry, path: str) -> None:
        if entry.link:
            self._link(entry, path)
            return
        if entry.type == "file":
            self._copy(entry, entry, path)
            return
        if entry.type == "symlink":
            os.symlink(entry.target, path)
        elif entry.type == "fifo":
            os.mkfifo(path, 0o600)
        elif entry.device and self.owners:
            kind = stat.S_IFBLK if entry.type == "block" else stat.S_IFCHR
            os.mknod(path, kind | 0o600, os.makedev(*entry.device))
        else:
            if entry.device:  # a socket is made by whoever listens on it
                self.placed.leave_out(entry.path, "only root can make a device file")
            return
        self._finish(entry)

    def _link(self, entry: Entry, path: str) -> None:
        first = self.brought.get(entry.link)
        if first is None and (not self.below or entry.link.startswith(f"{self.below}/")):
            first = self._at(entry.link)
        if first is not None and self._is_placed(first):
            os.link(first, path, follow_symlinks=False)
            return
        if first is not None or entry.link not in self._outside:
            raise CatalogError(f"{entry.path!r} is a link to {entry.link!r}, which is no file")
        self._copy(entry, self._outside[entry.link], path)
        self.brought[entry.link] = path

    def _is_placed(self, path: str) -> bool:
        """Whether it is a file in the target: a symlink that was placed before may lead to what is elsewhere."""
        folder = os.path.dirname(path)
        within = os.path.realpath(folder) == self._real_target + folder[len(str(self.target)) :]
        return within and os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode)

    @cached_property
    def _real_target(self) -> str:
        return os.path.realpath(self.target)

    @cached_property
    def _outside(self) -> dict[str, Entry]:
        """Of files that have names within and without, the entries of the first ones, which are without."""
        with entries(self.container) as listed:
            wanted = {entry.link for entry in catalog.within(listed, self.below) if entry.link}
        with entries(self.container) as listed:
            return {entry.path: entry for entry in listed if entry.path in wanted and entry.has_data}

    def _copy(self, entry: Entry, source: Entry, path: str) -> None:
        """Write a file with the bytes of ``source`` and what ``entry`` says of it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            if self._write(source, descriptor) != (source.size, source.sha256):
                raise JobFailed(
                    f"{shown(source.path)} in {self.container} is damaged; 'dualjoe backup verify SNAPSHOT', as"
                    " dualjoe-backup, repairs what the other node has, and another snapshot may have it whole"
                )
            self._set(entry, descriptor)
        finally:
            os.close(descriptor)
        self.placed.files += 1
        self.placed.bytes += source.size

    def _write(self, source: Entry, descriptor: int) -> tuple[int, str]:
        """Copy its bytes. Returns their number and SHA-256."""
        digest, size = hashlib.sha256(), 0
        with open(f"{self.container}/{DATA}/{source.path}", "rb", buffering=0) as file:
            while chunk := file.read(_HOLE_BYTES if source.sparse else _CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if source.sparse and chunk == _ZEROS:
                    os.lseek(descriptor, len(chunk), os.SEEK_CUR)
                else:
                    _write_all(descriptor, chunk)
        if source.sparse:
            os.ftruncate(descriptor, size)
        return size, digest.hexdigest()

    def _finish(self, entry: Entry) -> None:
        """Set what the entry says of what is placed and not open."""
        self._set(entry, self._at(entry.path))

    def _set(self, entry: Entry, place: int | str) -> None:
        """Owner, mode, extended attributes and times, in the order in which none undoes another."""
        follow = isinstance(place, int)
        if self.owners:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=follow)
        if entry.type != "symlink":
            os.chmod(place, entry.mode if self.owners else entry.mode & 0o777)
        for name, value in entry.xattrs.items():
            if self.owners or name.startswith("user."):
                try:
                    os.setxattr(place, name, base64.b64decode(value), follow_symlinks=follow)
                except OSError as error:  # of a kind that this file system has not
                    self.placed.leave_out(entry.path, f"{name}: {error.strerror}")
        os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=follow)


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
