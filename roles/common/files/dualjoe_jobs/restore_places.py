"""Put saved files back into a container's volumes, and keep what was there.

What comes back is written out beside the volume first, while the application still runs: a full disk or a damaged file
so ends a restore that has changed nothing. Then, with the container stopped, what is there goes into the safety copy,
and what was prepared takes its place. Both are renames where one file system holds them. Each entry of a folder is on
either side as a whole, so that a run that was cut off can be gone on with.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dualjoe import catalog, databases
from dualjoe.catalog import CatalogError, Entry

from . import manifest, redis_log, tree_restore
from .job import JobFailed
from .restore_box import Box
from .restore_files import PART, carry, existing, own, remove
from .room import check_room

SAVED = "saved"
_PLACES = "places.json"
_NEAR = ".dualjoe-restore"
_VOLUME = "_data"  # Docker's name for what a volume holds


@dataclass(frozen=True)
class Fetched:
    """What was fetched of a container: a folder with its catalog, and its data beside it. ``hook``: what saved it."""

    folder: Path
    hook: str

    @property
    def saved(self) -> Path:
        """What its hook saved."""
        return self.folder / tree_restore.DATA / SAVED

    def entries(self, below: str) -> Iterator[Entry]:
        """What the catalog lists of ``below``, a path in it, and of what is below that. Raises CatalogError."""
        with tree_restore.entries(self.folder) as listed:
            yield from catalog.within(listed, below)

    def check(self, snapshot: str, node: str) -> None:
        """Check every file against the catalog. Raises JobFailed, with what repairs ``snapshot`` on ``node``."""
        try:
            wrong = [entry.path for entry in self.entries("") if entry.has_data and not self._has(entry)]
        except CatalogError as error:
            raise JobFailed(f"the catalog makes no sense: {error}") from error
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise JobFailed(
                f"{', '.join(map(repr, wrong[:3]))}{more} are not what the catalog says: nothing was restored;"
                f" `sudo -u dualjoe-backup dualjoe backup verify {snapshot}` on {node} repairs what the other node has,"
                " or name another snapshot"
            )

    def _has(self, entry: Entry) -> bool:
        path = self.folder / tree_restore.DATA / entry.path
        try:
            return not path.is_symlink() and manifest.sum_of(path) == (entry.size, entry.sha256)
        except OSError:
            return False

    def places(self) -> dict[str, str]:
        """What goes back by being put in place: path below saved/ -> place in the container. Raises JobFailed."""
        try:
            found: dict[Any, Any] = dict(json.loads((self.saved / _PLACES).read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise JobFailed(f"{_PLACES} makes no sense: {error}") from error
        for path, inside in found.items():
            if {type(path), type(inside)} != {str} or path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise JobFailed(f"{_PLACES} makes no sense: {path!r} goes to {inside!r}")
        return found


@dataclass(frozen=True)
class Place:
    """One thing to put back: ``path`` below saved/, at ``host`` on this machine; written out below ``ready`` before.
    What is there goes to ``safety`` (nowhere for a scratch container)."""

    fetched: Fetched
    path: str
    host: Path
    ready: Path
    safety: Path | None

    @property
    def source(self) -> Path:
        return self.fetched.saved / self.path

    @property
    def is_folder(self) -> bool:
        return self.source.is_dir()

    @property
    def folder(self) -> Path:
        """What the entries are in that are exchanged."""
        return self.host if self.is_folder else self.host.parent

    def _of(self, folder: Path) -> list[Path]:
        """The entries in ``folder`` that are exchanged: all, or a database with what its server keeps beside it."""
        if not folder.is_dir():
            return []
        if self.is_folder:
            return sorted(folder.iterdir())
        file = folder / self.host.name
        beside = redis_log.beside(file) if redis_log.is_rdb(self.source) else databases.sidecars(file)
        return [path for path in (file, *beside) if os.path.lexists(path)]

    def prepare(self) -> int:
        """Write out what comes back; returns how many files. Raises JobFailed, OSError; nothing else has changed."""
        remove(self.ready)
        self.ready.mkdir(mode=0o700, parents=True)
        listed = list(self._sizes())
        for folder in {path.stat().st_dev: path for path in (self.ready, existing(self.host))}.values():
            check_room(folder, sum(listed), len(listed))
        placed = tree_restore.place(
            self.fetched.folder, self._new, owners=os.geteuid() == 0, below=f"{SAVED}/{self.path}"
        )
        if not self.is_folder:
            self._complete(self._new)
        return placed.files

    @property
    def _new(self) -> Path:
        return self.ready / self.host.name

    def _sizes(self) -> Iterator[int]:
        return (entry.size for entry in self.fetched.entries(f"{SAVED}/{self.path}") if entry.has_data)

    def _complete(self, copy: Path) -> None:
        """What a hook made is nobody's yet; and a Redis server may want more than its RDB file."""
        before = [path for folder in (self.safety, self.folder) if folder for path in self._of(folder)]
        if not copy.stat().st_mode & 0o777:
            same = [path for path in before if path.name == self.host.name]
            own(copy, same[0] if same else existing(self.host.parent))
        if redis_log.is_rdb(copy):
            for log in before:
                if not os.path.lexists(self.ready / log.name):
                    redis_log.write(self.ready / log.name, log, copy)

    def refuse_links(self) -> None:
        """Raise JobFailed when the container, which may be in the wrong hands, has made a link on the way meanwhile."""
        if self.host.resolve() != self.host:
            raise JobFailed(f"{self.host} leads through a link now: nothing was changed")

    def keep(self) -> None:
        """Bring what is there into the safety copy. Goes on where it was cut off."""
        if self.safety is None:
            return
        self.safety.mkdir(mode=0o700, parents=True, exist_ok=True)
        carry([entry for entry in self._of(self.folder) if not os.path.lexists(self.safety / entry.name)], self.safety)
        remove(self.safety / PART)

    def empty(self) -> None:
        """Take away what is there."""
        for entry in self._of(self.folder):
            remove(entry)

    def fill(self) -> None:
        """Put what was prepared where nothing is now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        carry(sorted((self._new if self.is_folder else self.ready).iterdir()), self.folder)
        if self.is_folder:
            own(self.folder, self._new)
            shutil.copystat(self._new, self.folder)

    def put_back(self) -> None:
        """Bring back from the safety copy what is not there now."""
        if self.safety is None or not self.safety.is_dir():
            return
        kept = [entry for entry in sorted(self.safety.iterdir()) if entry.name != PART]
        carry([entry for entry in kept if not os.path.lexists(self.folder / entry.name)], self.folder)
        remove(self.safety)
        with suppress(OSError):  # there is more in it
            self.safety.parent.rmdir()


def places(box: Box, fetched: Fetched, safety: Path | None, spare: Path) -> list[Place]:
    """Where everything that is put in place goes. ``spare``: a folder for what cannot lie beside its volume.

    Raises JobFailed.
    """
    result = []
    for number, (path, inside) in enumerate(sorted(fetched.places().items())):
        host = box.on_host(inside)
        ready = _near(host, spare) / box.name / str(number)
        result.append(Place(fetched, path, host, ready, safety / str(number) if safety else None))
    return result


def _near(host: Path, spare: Path) -> Path:
    """A folder that no container sees, on the same file system if there is one: beside what a volume holds."""
    volumes = [path for path in (host, *host.parents) if path.name == _VOLUME]
    return volumes[-1].parent / _NEAR if volumes else spare


def clear(prepared: Sequence[Place]) -> None:
    """Leave nothing of what was prepared."""
    for place in prepared:
        remove(place.ready)
        with suppress(OSError):  # there is more in them
            place.ready.parent.rmdir()
            place.ready.parent.parent.rmdir()
