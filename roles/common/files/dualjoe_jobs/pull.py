"""Fetch a tree that another machine exports into an empty stage, checked file by file against the source's manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe.retention import Policy

from . import manifest
from .copies import Copies
from .job import JobFailed
from .manifest import Manifest
from .rsync import Deadline
from .source import Source, ssh_options

# So much of the disk stays free, the lesser of the two.
_RESERVE, _RESERVE_BYTES, _RESERVE_FILES = 0.05, 5 << 30, 100_000


@dataclass(frozen=True)
class Settings:
    """What a job's settings file says of its source. ``keep``: which copies stay. ``ssh``: the command line up to the
    address."""

    keep: Policy
    run_seconds: float
    login: str
    ssh: Sequence[str]

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that the job's role writes. Raises JobFailed."""
        try:
            return cls.parse(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{path}: {error!r}; run site.yml again") from error

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Settings:
        """The source's part of decoded settings. Raises KeyError, TypeError or ValueError."""
        source = raw["source"]
        ssh = ["ssh", *ssh_options(Path(raw["key"])), "-p", str(int(source["port"]))]
        return cls(Policy.parse(raw["keep"]), float(raw["run_seconds"]), f"{source['user']}@{source['address']}", ssh)


@contextmanager
def _as_sent() -> Iterator[None]:
    try:
        yield
    except manifest.ManifestError as error:
        raise JobFailed(f"what arrived is not what was sent: {error}") from error


@dataclass(frozen=True)
class Puller:
    """One run, which ends at the deadline. ``shown``: a person watches it."""

    settings: Settings
    copies: Copies
    deadline: Deadline
    shown: bool = False

    @property
    def source(self) -> Source:
        """The other machine, for this run."""
        return Source(self.settings.login, self.settings.ssh, self.copies.root, self.deadline)

    def ask_export(self, told: str | None = None) -> dict[str, Any]:
        """Have the source prepare its export, after telling it one line; its reply. Raises JobFailed."""
        return self.source.ask_export(told)

    def fetch(self) -> Manifest:
        """Bring what the source has exported into the stage, whole. Raises JobFailed.

        Files that the current copy has as well are shared with it, and neither sent nor read again.
        """
        wanted = self.fetch_manifest()
        rest = self._share(wanted)
        check_room(self.copies.folder, sum(wanted.sums[path][0] for path in rest), len(rest))
        self._copy(rest, self.shown)
        with _as_sent():
            manifest.check(self.copies.stage, wanted, rest)
        return wanted

    def fetch_manifest(self) -> Manifest:
        """Bring the list of what the source has exported into an empty stage. Raises JobFailed."""
        stage = self.copies.stage
        self.copies.clear_stage()
        stage.mkdir(mode=0o750)
        self._copy([manifest.NAME], shown=False)
        with _as_sent():
            return manifest.load(stage)

    def fetch_some(self, wanted: Manifest, paths: Sequence[str]) -> None:
        """Bring these files of ``wanted`` as well. Raises JobFailed."""
        self._copy(paths, shown=False)
        for path in paths:
            if manifest.sum_of(self.copies.stage / path) != wanted.sums[path]:
                raise JobFailed(f"what arrived is not what was sent: {path} differs")

    def _share(self, wanted: Manifest) -> list[str]:
        """Let the stage have what the current copy has; return what it has not."""
        current, stage = self.copies.current.resolve(), self.copies.stage
        try:
            before = manifest.load(current).sums
        except manifest.ManifestError:  # there is none, or it is damaged: everything is fetched
            before = {}
        rest, made = [], {""}
        for path, sums in sorted(wanted.sums.items()):
            folder = path.rpartition("/")[0]
            if folder not in made:
                (stage / folder).mkdir(mode=0o750, parents=True, exist_ok=True)
                made.add(folder)
            try:
                if before.get(path) != sums:
                    raise FileNotFoundError
                os.link(f"{current}/{path}", f"{stage}/{path}", follow_symlinks=False)
            except OSError:  # not there, or with as many links as it may have
                rest.append(path)
        return rest

    def _copy(self, paths: Sequence[str], shown: bool) -> None:
        self.source.receive(paths, self.copies.stage, self.copies.current.resolve(), shown=shown)


def check_room(folder: Path, size: int, files: int) -> None:
    """Raise JobFailed unless ``size`` bytes more in so many files leave the disk its reserve."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize - size
    if free < min(_RESERVE * disk.f_blocks * disk.f_frsize, _RESERVE_BYTES):
        raise JobFailed(f"too little room in {folder} for {size >> 20} MiB more")
    if disk.f_files and disk.f_favail < files + min(_RESERVE * disk.f_files, _RESERVE_FILES):
        raise JobFailed(f"too few inodes in {folder} for {files} more files")
