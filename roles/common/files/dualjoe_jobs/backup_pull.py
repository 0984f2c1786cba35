"""Fetch what T440 exports into the stage: what the current snapshot has as well is shared with it, the rest is sent.

What comes from T440 is held to be hostile: sizes, sums, names and numbers are checked, and only what the catalogs list
is there in the end. Nobody holds a whole catalog.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from dualjoe import catalog, snapshots
from dualjoe.catalog import CatalogError, Entry
from dualjoe.contents import sha256_of
from dualjoe.names import shown
from dualjoe.snapshots import CATALOG, DATA, SNAPSHOT, Part, Snapshot, SnapshotError

from .copies import Copies
from .durable import write_json
from .export import LOCK_SECONDS
from .job import JobFailed
from .source import Source

_BATCH = 20_000  # files in one run of rsync
_EXPORTS = 3  # that are tried, where the other node has T440 make another one meanwhile
_TOLD_BYTES = 8 << 20  # of snapshot.json, at most
_FOLDERS = (
    100  # made, at most, before the disk is looked at again: no catalog need list them, so nobody has told of them
)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

Room = Callable[[int, int], None]


@dataclass
class Pull:
    """One run. ``room``: makes sure that there is room for so many bytes more in so many files, or raises JobFailed.
    ``distrusted``: paths in the current snapshot that are known to be damaged. ``shown``: a person watches."""

    source: Source
    copies: Copies
    room: Room
    distrusted: Collection[str] = ()
    shown: bool = False
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: bytes = b""  # snapshot.json of the export that is being fetched

    @property
    def stage(self) -> Path:
        return self.copies.stage

    def before(self) -> Snapshot | None:
        """What the current snapshot says; None where there is none that is any good."""
        try:
            return snapshots.load(self.copies.current)
        except SnapshotError:
            return None

    def fetch(self, listed: bytes = b"") -> Snapshot:
        """Bring all of it into the stage, whole and checked. ``listed``: what its snapshot.json says, where that is at
        hand. Raises JobFailed, OSError.

        Where the other node has T440 make another export meanwhile, that one is fetched: it is newer than what this
        node has asked for, and the other node fetches it too.
        """
        exports = 1
        while True:
            self.copies.clear_stage()
            self.stage.mkdir(mode=0o750)
            self._sizes.clear()
            self._told = b""
            try:
                return self._fetch(listed)
            except CatalogError as error:
                raise JobFailed(f"what T440 sent makes no sense: {error}") from error
            except JobFailed:
                if exports == _EXPORTS or not self._replaced():
                    raise
                exports += 1
                listed = b""

    def _replaced(self) -> bool:
        """Whether T440's export is another one now."""
        told = self._told
        try:
            return bool(told) and self._receive_told() != told
        except (JobFailed, OSError):
            return False  # then why the fetch failed says more

    def _fetch(self, listed: bytes) -> Snapshot:
        told = self._fetch_told(listed)
        before = self.before()
        old = before.containers if before else {}
        known = self._fetch_catalogs(told.containers, old)
        rest = self.stage / ".rest"  # no container is called so
        with rest.open("wb") as file:
            catalog.write(file, self._share_all(sorted(told.containers, key=catalog.order), known))
        self._fetch_rest(rest)
        rest.unlink()
        self._check_number()
        parts = {
            name: replace(part, files=self._sizes[name][0], bytes=self._sizes[name][1])
            for name, part in told.containers.items()
        }
        for name in sorted((told.failed.keys() - parts.keys()) & old.keys()):  # T440 has not even what it had before
            shutil.copytree(self.copies.current / name, self.stage / name, symlinks=True, copy_function=os.link)
            parts[name] = old[name]
        if not sum(part.files for part in parts.values()):
            raise JobFailed("T440 exported nothing")
        made = replace(told, containers=parts)
        (self.stage / SNAPSHOT).unlink()
        write_json(self.stage / SNAPSHOT, made.as_dict())
        return made

    def _fetch_told(self, listed: bytes) -> Snapshot:
        try:
            self._told = self._receive_told(listed)
            return snapshots.parse(json.loads(self._told))
        except (SnapshotError, OSError, ValueError, RecursionError) as error:
            raise JobFailed(f"T440 does not say what it has exported ({SNAPSHOT}: {error})") from error

    def _receive_told(self, listed: bytes = b"") -> bytes:
        if listed:
            (self.stage / SNAPSHOT).write_bytes(listed)
        else:
            # T440 is silent while the other node has an export made.
            self.source.receive(
                [SNAPSHOT], self.stage, options=[f"--max-size={_TOLD_BYTES}", f"--timeout={LOCK_SECONDS}"]
            )
        with (self.stage / SNAPSHOT).open("rb") as file:
            told = file.read(_TOLD_BYTES + 1)  # more may have come than was told
        if len(told) > _TOLD_BYTES:
            raise JobFailed(f"what T440 says of its export has more than {_TOLD_BYTES >> 20} MiB")
        return told

    def _fetch_catalogs(self, told: Mapping[str, Part], old: Mapping[str, Part]) -> set[str]:
        """Bring each container's catalog. Returns those whose current one can be compared with."""
        known, wanted = set(), []
        for name, part in told.items():
            (self.stage / name).mkdir(mode=0o750)
            current = self.copies.current / name / CATALOG
            if name in old and self._is(current, old[name]):
                known.add(name)
                if old[name].catalog == part.catalog:
                    os.link(current, self.stage / name / CATALOG)
                    continue
            wanted.append(name)
        self.room(sum(told[name].catalog[0] for name in wanted), len(wanted))
        self.source.receive([f"{name}/{CATALOG}" for name in wanted], self.stage, self.copies.current.resolve())
        for name in wanted:
            if not self._is(self.stage / name / CATALOG, told[name]):
                raise JobFailed(f"what arrived is not what was sent: the catalog of {name} differs")
        return known

    def _is(self, path: Path, part: Part) -> bool:
        """Whether there is the catalog of ``part``."""
        try:
            return (path.stat().st_size, sha256_of(str(path))) == part.catalog
        except OSError:
            return False

    def _share_all(self, names: Collection[str], known: Collection[str]) -> Iterator[Entry]:
        """Let the stage have what the current snapshot has. Yields what it has not, by its path in the snapshot; in the
        end there is room for that."""
        wanted_bytes = wanted_files = 0
        for name in names:
            for entry in self._share(name, name in known):
                wanted_bytes += entry.size
                wanted_files += 1
                # Not its extended attributes: many of them are held at a time.
                yield Entry(f"{name}/{DATA}/{entry.path}", "file", size=entry.size, sha256=entry.sha256)
        self.room(wanted_bytes, wanted_files)

    def _share(self, name: str, known: bool) -> Iterator[Entry]:
        """The same for one container. ``known``: its current catalog can be trusted."""
        current, stage = self.copies.current.resolve() / name, self.stage / name
        source, target, here = f"{current / DATA}/", f"{stage / DATA}/", None
        files = total = folders = 0
        with ExitStack() as stack:
            new = catalog.read(stack.enter_context((stage / CATALOG).open("rb")))
            old = catalog.read(stack.enter_context((current / CATALOG).open("rb"))) if known else iter(())
            for entry, before in catalog.merged(new, old):
                if entry is None or not entry.has_data:
                    continue
                path = entry.path
                files += 1
                total += entry.size
                if (folder := path.rpartition("/")[0]) != here:
                    os.makedirs(target + folder, 0o750, exist_ok=True)
                    here = folder
                    folders += 1
                    if folders % _FOLDERS == 0:
                        self.room(0, 0)
                same = before and before.sha256 == entry.sha256 and before.size == entry.size
                if not same or f"{name}/{DATA}/{path}" in self.distrusted or not _linked(source + path, target + path):
                    yield entry
        self._sizes[name] = files, total

    def _fetch_rest(self, listed: Path) -> None:
        with listed.open("rb") as file:
            entries = catalog.read(file)
            while batch := list(islice(entries, _BATCH)):
                paths = [entry.path for entry in batch]
                self.source.receive(paths, self.stage, self.copies.current.resolve(), ["--sparse"], self.shown)
                for entry in batch:
                    self._check(entry)

    def _check(self, entry: Entry) -> None:
        path = f"{self.stage}/{entry.path}"
        try:
            good = os.lstat(path).st_size == entry.size and sha256_of(path) == entry.sha256
        except FileNotFoundError:
            good = False
        if not good:
            raise JobFailed(f"what arrived is not what was sent: {shown(entry.path)} differs")

    def _check_number(self) -> None:
        """Nothing else than what the catalogs list may have come."""
        wanted = 1 + sum(1 + files for files, _ in self._sizes.values())
        found = _count(str(self.stage))
        if found != wanted:
            raise JobFailed(f"what arrived is not what was sent: {found} files instead of {wanted}")


def _linked(old: str, new: str) -> bool:
    """Give the file one more name. False where it is gone, or has as many as it may have."""
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return False
    return True


def _count(folder: str) -> int:
    """Files below, in all folders. Raises JobFailed for what is neither."""
    number, folders = 0, [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    number += 1
                else:
                    raise JobFailed(f"what arrived is not what was sent: {shown(entry.name)} is no file")
    return number
