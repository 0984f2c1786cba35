"""Fetch a tree that another machine exports into an empty stage, checked file by file against the source's manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe.retention import Policy

from . import manifest
from .copies import Copies
from .job import JobFailed
from .manifest import Manifest, Sum
from .memory_sets import remove_file
from .room import check_room
from .rsync import Deadline
from .source import NOT_ASKED, Exported, Source, ssh_options


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


class NotAsSent(JobFailed):
    """Something arrived that its source's manifest does not tell of. ``paths``: what must be copied there again."""

    def __init__(self, why: object, paths: Sequence[str] = ()) -> None:
        super().__init__(f"what arrived is not what was sent: {why}")
        self.paths = paths


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
        return Source(self.settings.login, self.settings.ssh, self.copies.root, self.deadline, trusted=True)

    def ask_export(self, told: bytes = b"") -> Exported:
        """Have the source prepare its export, after telling it something. Raises JobFailed."""
        return self.source.ask_export(told)

    def fetch(self, exported: Exported = NOT_ASKED, current: Manifest | None = None) -> Manifest:
        """Bring what the source has ``exported`` into the stage, whole. Raises JobFailed. ``current``: the manifest of
        the current copy, where it is at hand.

        Files that the spare or the current copy has as well are shared with it, and not sent again.
        """
        stage = self.copies.stage
        self.copies.begin_stage()
        had = _sums(stage)
        wanted = self._manifest(exported)
        try:
            before = current.sums if current else _sums(self.copies.current.resolve())
            kept = self._kept(wanted, had)
            rest = self._share(wanted, kept, before)
            check_room(self.copies.folder, sum(wanted.sums[path][0] for path in rest), len(rest))
            self._copy(rest, self.shown)
            # What only the spare copy had is read: nothing would heal a file that is damaged there.
            alone = (path for path in kept if before.get(path) != wanted.sums[path])
            wrong = manifest.differences(stage, wanted, [*rest, *alone])
        except manifest.ManifestError as error:
            raise NotAsSent(error) from error
        if wrong:
            raise NotAsSent(manifest.in_short(wrong), list(wrong))
        return wanted

    def fetch_manifest(self, exported: Exported) -> Manifest:
        """Bring the list of what the source has exported into an empty stage. Raises JobFailed."""
        self.copies.clear_stage()
        self.copies.stage.mkdir(mode=0o750)
        return self._manifest(exported)

    def _manifest(self, exported: Exported) -> Manifest:
        stage = self.copies.stage
        for name in (manifest.NAME, manifest.NOTE):  # a copy that became the stage has its own
            (stage / name).unlink(missing_ok=True)
        try:
            if not exported.listed:
                self._copy([manifest.NAME], shown=False)
                return manifest.load(stage)
            (stage / manifest.NAME).write_bytes(exported.listed)
            made = manifest.parse(exported.listed)
        except manifest.ManifestError as error:
            raise NotAsSent(error, [manifest.NAME]) from error
        if made.content != exported.reply.get("content"):
            raise NotAsSent(f"{manifest.NAME} differs", [manifest.NAME])
        return made

    def fetch_some(self, wanted: Manifest, paths: Sequence[str]) -> None:
        """Bring these files of ``wanted`` as well. Raises JobFailed."""
        self._copy(paths, shown=False)
        for path in paths:
            if manifest.sum_of(self.copies.stage / path) != wanted.sums[path]:
                raise JobFailed(f"what arrived is not what was sent: {path} differs")

    def _kept(self, wanted: Manifest, had: Mapping[str, Sum]) -> set[str]:
        """Remove from the stage what is not as it is wanted; return what stays. ``had``: what it should have."""
        stage, kept = self.copies.stage, set()
        for path in list(manifest.files(stage)):
            if path in had and had[path] == wanted.sums.get(path):
                kept.add(path)
            else:
                remove_file(stage, path)
        return kept

    def _share(self, wanted: Manifest, kept: Collection[str], before: Mapping[str, Sum]) -> list[str]:
        """Let the stage have what the current copy has, beside what it has ``kept``; return what it has not."""
        current, stage = self.copies.current.resolve(), self.copies.stage
        rest, made = [], {""}
        for path, sums in sorted(wanted.sums.items()):
            if path in kept:
                continue
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


def _sums(tree: Path) -> Mapping[str, Sum]:
    """What a copy has; nothing where there is none, or it is damaged."""
    try:
        return manifest.load(tree).sums
    except manifest.ManifestError:
        return {}
