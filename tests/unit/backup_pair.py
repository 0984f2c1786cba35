"""T440 with an export, and a node that pulls it, on one machine: real rsync and rrsync; only ssh is a script."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualjoe import catalog
from dualjoe.catalog import Entry
from dualjoe.retention import Policy
from dualjoe_jobs import backup
from dualjoe_jobs.backup_settings import Peer, Settings
from dualjoe_jobs.job import Outcome
from dualjoe_jobs.pull import Settings as SourceSettings

ROOT = Path(__file__).resolve().parents[2]
AT = "2026-11-24T06:00:{:02}Z"

Files = Mapping[str, "str | bytes | Entry"]


def part(at: Path, files: Files, captured_at: str) -> dict[str, Any]:
    """Write a container's folder with these files, or entries of other kinds. Returns what snapshot.json says of it."""
    listed = []
    for path in sorted(files, key=catalog.order):
        given = files[path]
        if isinstance(given, Entry):
            listed.append(given)
            continue
        content = given.encode() if isinstance(given, str) else given
        place = at / "data" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        listed.append(Entry(path, "file", 0o600, size=len(content), sha256=hashlib.sha256(content).hexdigest()))
    at.mkdir(parents=True, exist_ok=True)
    with (at / "catalog.jsonl").open("wb") as file:
        catalog.write(file, listed)
    raw = (at / "catalog.jsonl").read_bytes()
    size = sum(entry.size for entry in listed)
    sums = [len(raw), hashlib.sha256(raw).hexdigest()]
    return {"hook": "files", "files": len(listed), "bytes": size, "catalog": sums, "captured_at": captured_at}


class Pair:
    """The export at T440 (``export``), and the node's ``backups``."""

    def __init__(self, place: Path) -> None:
        self.export = place / "t440" / "backup"
        self.backups = place / "backups"
        self.results = place / "jobs"
        for folder in (self.export, self.backups, self.results):
            folder.mkdir(parents=True)
        self.ssh = place / "ssh"
        self.calls = place / "calls"
        self.drop_percent = 50.0
        self.peer: Peer | None = None
        self.expected: list[str] = []
        self.keep = Policy(3)
        self.answer()

    @property
    def settings(self) -> Settings:
        source = SourceSettings(self.keep, 60, "joe@t440", [str(self.ssh)])
        return Settings(source, self.drop_percent, 30, self.peer, self.expected)

    def answer(
        self,
        line: str = '{"v":1,"ok":true}',
        before_rsync: str = "",
        folder: Path | None = None,
        listed: Path = Path(os.devnull),
    ) -> None:
        """Answer `export` with this line, and what ``listed`` has; T440's rsync is real, after ``before_rsync``."""
        told = f"echo '{line}'; cat {listed}; exit 0"
        before = f'echo "$*" >> {self.calls}\n[ "$1" = export ] && {{ {told}; }}\n{before_rsync}'
        answering(self.ssh, folder or self.export, before)

    def fill(self, second: int = 0, failed: Mapping[str, str] | None = None, **containers: Files) -> None:
        """Export these containers' files, as captured at this second."""
        shutil.rmtree(self.export)
        self.export.mkdir()
        parts = {name: part(self.export / name, files, AT.format(second)) for name, files in containers.items()}
        self.told: dict[str, Any] = {
            "version": 2,
            "captured_at": AT.format(second),
            "containers": parts,
            "failed": failed or {},
        }
        self.tell()

    def tell(self, **changes: Any) -> None:
        (self.export / "snapshot.json").write_text(json.dumps({**self.told, **changes}))

    def pull(self, accept_drop: bool = False) -> Outcome:
        return backup.snapshot(self.settings, self.backups, accept_drop)

    @property
    def snapshots(self) -> list[str]:
        return sorted(path.name for path in (self.backups / "snapshots").iterdir())

    def read(self, path: str, snapshot: str = "") -> str:
        """A file in a snapshot; without a name, in the current one."""
        place = self.backups / "snapshots" / snapshot if snapshot else self.backups / "current"
        name, _, rest = path.partition("/")
        return (place / name / "data" / rest).read_text()

    def snapshot(self, number: int) -> Path:
        return self.backups / "snapshots" / self.snapshots[number]


def answering(ssh: Path, folder: Path, before: str) -> None:
    """Make ``ssh`` a script that lets rsync read this folder, after the lines ``before``."""
    ssh.write_text(
        "#!/bin/sh\n"
        'while true; do case "$1" in -o|-l|-i|-p|-F) shift 2;; *) break;; esac; done; shift\n'
        f"{before}\n"
        f'export SSH_ORIGINAL_COMMAND="$*"; exec rrsync -ro -no-lock {folder}\n'
    )
    ssh.chmod(0o755)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files below, with their inodes."""
    return {
        os.fsdecode(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
