"""Put good content in the place of damaged content in this node's snapshots.

It comes from another snapshot here, or from one of the other node, and counts by its sum alone: so it does not matter
which snapshot has it. What is damaged stays where it is until the good file, checked and on the disk, takes its place
by one rename, under every name that the damaged one has.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualjoe import catalog, dated, snapshot_check, snapshots
from dualjoe.catalog import CatalogError
from dualjoe.snapshot_check import Damage, Sum
from dualjoe.snapshots import CATALOG, DATA, SNAPSHOT, Snapshot, SnapshotError

from . import locks, rsync
from .backup_settings import Settings
from .copies import named
from .durable import sync_folder, sync_tree
from .job import JobFailed
from .room import check_room
from .rsync import Deadline
from .source import Source

_LOCK_SECONDS = 1800.0  # a backup may be running


@dataclass
class Repair:
    """``repaired`` and ``lost`` after ``run``: what was put right (SNAPSHOT/PATH, and from where), and what is still
    damaged, by snapshot; ``why``: the reason for that. ``surplus``: what does not belong there."""

    backups: Path
    settings: Settings
    repaired: list[str] = field(default_factory=list)
    lost: dict[Path, set[str]] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    why: str = "no other snapshot has it"

    def run(self, found: Mapping[Path, Sequence[Damage]]) -> None:
        """Repair what can be repaired of what was ``found``, by snapshot. Raises JobFailed when it may not begin."""
        with self._alone():
            places = named(self.backups / "snapshots")
            wanted = self._wanted(found, places)
            try:
                self._from_here(wanted, places)
                if wanted:
                    self._from_peer(wanted)
            except OSError as error:  # what was found must be remembered all the same
                self.why = str(error)
            for (path, _), where in wanted.items():
                for place in where:
                    self.lost.setdefault(place, set()).add(path)

    def _from_here(self, wanted: dict[tuple[str, Sum], list[Path]], places: Sequence[Path]) -> None:
        """Take what another snapshot has, and take it out of ``wanted``."""
        for (path, sum_), where in list(wanted.items()):
            if source := _good(path, sum_, places, where):
                self._replace(source, path, where, f"from {source.parents[path.count('/')].name}")
                del wanted[path, sum_]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No snapshot may be made meanwhile: it would share what is damaged."""
        with (self.backups / "lock").open("a") as held:
            if not locks.take(held.fileno(), locks.EXCLUSIVE, _LOCK_SECONDS):
                raise JobFailed(f"there is damage to repair, and a backup has been running for {_LOCK_SECONDS:.0f} s")
            try:
                yield
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return self.backups / "repair"

    def _wanted(
        self, found: Mapping[Path, Sequence[Damage]], places: Sequence[Path]
    ) -> dict[tuple[str, Sum], list[Path]]:
        """What is to be brought: its path and sum -> the snapshots in which it takes the damaged one's place."""
        wanted: dict[tuple[str, Sum], list[Path]] = {}
        for place, damages in found.items():
            for damage in damages:
                if damage.what == snapshot_check.SURPLUS:
                    self.surplus.append(f"{place.name}/{damage.path}")
                elif damage.sum is None:
                    self.lost.setdefault(place, set()).add(damage.path)
                else:
                    where = wanted.setdefault((damage.path, damage.sum), [])
                    where += [each for each in _sharing(place, damage.path, places) if each not in where]
        return wanted

    def _replace(self, source: Path, path: str, where: Sequence[Path], told: str) -> None:
        self._folder.mkdir(mode=0o750, exist_ok=True)
        new = self._folder / "new"
        for place in where:
            target = place / path
            target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            try:
                os.link(source, new, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EMLINK:  # as many names as it may have
                    raise
                shutil.copyfile(source, new)
                new.chmod(0o640)
                sync_tree(new)
            new.replace(target)
            sync_folder(target.parent)
            self.repaired.append(f"{place.name}/{path} {told}")

    def _from_peer(self, wanted: dict[tuple[str, Sum], list[Path]]) -> None:
        """Bring what the other node has, and take it out of ``wanted``."""
        peer = self.settings.peer
        if peer is None:
            self.why = "no other snapshot here has it, and backup.json names no other node"
            return
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(mode=0o750)
            source = Source(peer.login, peer.ssh, self._folder, Deadline(self.settings.source.run_seconds))
            self.why = f"{peer.name} has it neither"
            for path, sum_, got in _Fetch(source, self._folder).all(wanted):
                self._replace(got, path, wanted[path, sum_], f"from {peer.name}")
                del wanted[path, sum_]
        except (JobFailed, CatalogError, SnapshotError) as error:
            self.why = f"{peer.name}: {error}"


def _sharing(place: Path, path: str, places: Sequence[Path]) -> list[Path]:
    """The snapshots whose file at ``path`` is the same one as that in ``place``; at least that one."""
    try:
        status = os.lstat(place / path)
    except OSError:
        return [place]
    found = [place]
    for other in places:
        with suppress(OSError):
            if other != place and os.path.samestat(os.lstat(other / path), status):
                found.append(other)
    return found


def _good(path: str, sum_: Sum, places: Sequence[Path], damaged: Sequence[Path]) -> Path | None:
    """A file with this sum, in another snapshot under the same path."""
    for place in reversed(places):
        if place not in damaged and snapshot_check.state_of(place / path, sum_) is None:
            return place / path
    return None


@dataclass
class _Fetch:
    """What the other node has of what is wanted, brought into ``folder``."""

    source: Source
    folder: Path

    def all(self, wanted: Mapping[tuple[str, Sum], Sequence[Path]]) -> Iterator[tuple[str, Sum, Path]]:
        """Each path and sum that was found, with where the file is now, checked and on the disk."""
        left = dict(wanted)
        told = self._told()
        for path, sum_ in list(left):
            name, _, rest = path.partition("/")
            if rest == CATALOG:
                for where, snapshot in told.items():
                    if name in snapshot.containers and snapshot.containers[name].catalog == sum_:
                        yield from self._bring(where, [(path, sum_)], left)
                        break
        for name in sorted({path.partition("/")[0] for path, _ in left}):
            yield from self._of_container(name, told, left)

    def _told(self) -> dict[str, Snapshot]:
        """What each of its snapshots says."""
        done = rsync.run([*self.source.ssh, self.source.login, "list"], self.source.deadline)
        try:
            reply: dict[str, Any] = json.loads(done.stdout)
            names = [str(each["name"]) for each in reply["snapshots"] if dated.is_name(str(each["name"]))]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            said = rsync.last_line(done.stderr) or rsync.last_line(done.stdout) or repr(error)
            raise JobFailed(f"it does not list its snapshots: {said}") from error
        self.source.receive([f"{name}/{SNAPSHOT}" for name in names], self.folder)
        return {name: snapshots.load(self.folder / name) for name in names}

    def _of_container(
        self, name: str, told: Mapping[str, Snapshot], left: dict[tuple[str, Sum], Sequence[Path]]
    ) -> Iterator[tuple[str, Sum, Path]]:
        """Look through its snapshots of one container, from those of about the same time on."""
        above = f"{name}/{DATA}/"
        ours = [place.name for (path, _), where in left.items() if path.startswith(above) for place in where]
        if not ours:
            return
        middle = dated.time_of(sorted(ours)[len(ours) // 2])
        seen = set()
        for where in sorted(told, key=lambda each: abs(dated.time_of(each) - middle)):
            part = told[where].containers.get(name)
            if part is None or part.catalog in seen:
                continue
            seen.add(part.catalog)
            here = {key for key in left if key[0].startswith(above)}
            if not here:
                return
            self.source.receive([f"{where}/{name}/{CATALOG}"], self.folder)
            with (self.folder / where / name / CATALOG).open("rb") as file:
                found = [
                    key
                    for entry in catalog.read(file)
                    if (key := (above + entry.path, (entry.size, entry.sha256))) in here and entry.has_data
                ]
            yield from self._bring(where, found, left)

    def _bring(
        self, where: str, found: Sequence[tuple[str, Sum]], left: dict[tuple[str, Sum], Sequence[Path]]
    ) -> Iterator[tuple[str, Sum, Path]]:
        if found:
            check_room(self.folder, sum(size for _, (size, _) in found), len(found))
            self.source.receive([f"{where}/{path}" for path, _ in found], self.folder)
            sync_tree(self.folder)
        for path, sum_ in found:
            got = self.folder / where / path
            if snapshot_check.state_of(got, sum_) is None:  # it may be damaged there as well
                del left[path, sum_]
                yield path, sum_, got
