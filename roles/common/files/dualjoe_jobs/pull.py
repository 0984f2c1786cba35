"""Fetch a tree that another machine exports into an empty stage, checked file by file against the source's manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import manifest, rsync
from .copies import Copies
from .job import JobFailed
from .rsync import Deadline

KNOWN_HOSTS = Path("/etc/dualjoe/known_hosts")

_RESERVE = 0.05  # of the disk stays free
_SILENCE_SECONDS = 60


@dataclass(frozen=True)
class Settings:
    """What a job's settings file says of its source. ``keep``: so many copies stay. ``ssh``: the command line up to the
    address."""

    keep: int
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
        return cls(int(raw["keep"]), float(raw["run_seconds"]), f"{source['user']}@{source['address']}", ssh)


def ssh_options(key: Path) -> list[str]:
    """Options for a connection with this key, to pinned hosts only, that never waits for a person."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(KNOWN_HOSTS),
        "IdentitiesOnly": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    return [
        "-F",
        "none",
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        "-i",
        str(key),
    ]


@dataclass(frozen=True)
class Puller:
    """One run, which ends at the deadline."""

    settings: Settings
    copies: Copies
    deadline: Deadline

    def ask_export(self) -> dict[str, Any]:
        """Have the source prepare its export; its reply. Raises JobFailed."""
        done = rsync.run([*self.settings.ssh, self.settings.login, "export"], self.deadline)
        try:
            reply = wire.decode(done.stdout)
        except wire.WireError as error:
            said = rsync.last_line(done.stderr) or str(error)
            raise JobFailed(
                f"{self.settings.login} prepared no export (ssh ended with {done.returncode}): {said}"
            ) from error
        if done.returncode != 0 or reply.get("ok") is not True:
            raise JobFailed(f"the source could not save its data: {reply.get('message')}")
        return reply

    def fetch(self, reply: Mapping[str, Any]) -> manifest.Manifest:
        """Bring the export that ``reply`` tells of into the stage, whole. Raises JobFailed."""
        self._check_room(int(reply.get("bytes", 0)), int(reply.get("files", 0)))
        current, stage = self.copies.current, self.copies.stage

        def begin() -> None:
            self.copies.clear_stage()
            stage.mkdir(mode=0o750)

        rsync.copy(
            [
                "-rtpc",  # compared by content: an edit of the same size in the same second counts
                "--chmod=D0750,F0640",
                f"--timeout={_SILENCE_SECONDS}",
                f"--rsh={' '.join(self.settings.ssh)}",
                *([f"--link-dest={current.resolve()}"] if current.is_dir() else []),
                f"{self.settings.login}:",
                f"{stage}/",
            ],
            self.deadline,
            begin,
        )
        try:
            return manifest.verify(stage)
        except manifest.ManifestError as error:
            raise JobFailed(f"what arrived is not what was sent: {error}") from error

    def _check_room(self, size: int, files: int) -> None:
        disk = os.statvfs(self.copies.folder)
        free = disk.f_bavail * disk.f_frsize - size
        if free < _RESERVE * disk.f_blocks * disk.f_frsize:
            raise JobFailed(f"too little room in {self.copies.folder} for {size >> 20} MiB more")
        if disk.f_files and disk.f_favail < files + _RESERVE * disk.f_files:
            raise JobFailed(f"too few inodes in {self.copies.folder} for {files} more files")
