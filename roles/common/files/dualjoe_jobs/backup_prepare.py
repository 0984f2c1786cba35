"""Save all containers' data into one export tree on T440, for the nodes to fetch.

Runs as root, without arguments, by one sudoers line. What it writes lies below a folder that only root can write, and
account dualjoe-backup can read. The tree is replaced as a whole, and only when every hook succeeded: a puller
never finds one container's data of today beside another's of yesterday.
"""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import manifest
from .backup_hooks import HOOKS, Container, HookFailed, Run, run_program
from .export import ExportFailed, answer, renewed, say
from .job import utc_now

SETTINGS = Path("/etc/dualjoe/backup.json")
_UMASK = 0o027


@dataclass(frozen=True)
class Settings:
    """What /etc/dualjoe/backup.json says on T440. ``hook_seconds`` is each container's share of time."""

    export: Path
    group: str
    hook_seconds: float
    containers: Sequence[Mapping[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that role backup writes. Raises ExportFailed."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            settings = cls(Path(raw["export"]), raw["group"], float(raw["hook_seconds"]), raw["containers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportFailed(f"{path}: {error!r}; run site.yml again") from error
        unknown = sorted({str(item.get("hook")) for item in settings.containers} - set(HOOKS))
        if unknown:
            raise ExportFailed(f"{path}: no such hook: {', '.join(unknown)}")
        if not settings.containers:
            raise ExportFailed(f"{path}: there is no container to save; fill containers_list and run site.yml")
        return settings


def prepare(settings: Settings, run: Run = run_program) -> dict[str, Any]:
    """Save everything and put it in place of the previous export. Returns the reply for the puller.

    Raises ExportFailed naming every container that failed; then the previous export stays as it was.
    """
    captured_at = utc_now()
    parent = settings.export.parent
    _check_folder(parent)
    gid = grp.getgrnam(settings.group).gr_gid
    with renewed(settings.export) as tree:
        failures = _save_all(settings, tree, gid, run)
        if failures:
            raise ExportFailed("; ".join(failures))
        made = manifest.measure(tree, captured_at)
        made.write(tree)
        _let_read(tree, gid)
    return wire.ok(captured_at=captured_at, files=len(made.sums), bytes=made.bytes)


def _check_folder(parent: Path) -> None:
    """What root writes must lie where nobody else can exchange folders for links."""
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ExportFailed(
            f"{parent} must be a folder that only {'root' if os.geteuid() == 0 else 'its user'} can write"
        )


def _save_all(settings: Settings, tree: Path, gid: int, run: Run) -> list[str]:
    """Run all hooks, also after one failed; return what went wrong."""
    failures = []
    for item in settings.containers:
        name = str(item["name"])
        target = tree / name
        target.mkdir()
        deadline = time.monotonic() + settings.hook_seconds
        container = Container(name, item, deadline, gid, settings.export / name, run)
        try:
            HOOKS[item["hook"]](container, target)
        except (HookFailed, OSError, ValueError) as error:
            failures.append(f"{name}: {error}")
    return failures


def _let_read(tree: Path, gid: int) -> None:
    """Give the group read access to all of the tree, and others none."""
    for folder, _, files in os.walk(tree):
        os.chown(folder, -1, gid)
        Path(folder).chmod(0o750)
        for name in files:
            path = Path(folder, name)
            status = path.stat()
            # Files that are links to the previous export are right already; touching them would touch that one.
            if status.st_gid != gid or stat.S_IMODE(status.st_mode) != 0o640:
                os.chown(path, -1, gid)
                path.chmod(0o640)


def serve() -> int:
    """The forced command of the nodes' backup keys: root prepares the tree, account dualjoe-backup hands it out."""
    prepare = ("sudo", "-n", "/usr/local/bin/dualjoe-backup-prepare")
    try:
        export = Settings.load(SETTINGS).export
    except ExportFailed as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
    return answer(export, lambda: subprocess.run(prepare, stdin=subprocess.DEVNULL, check=False).returncode)


def main() -> int:
    """Print one JSON line: what was exported, or why nothing was. 0 or 1."""
    os.umask(_UMASK)
    if len(sys.argv) > 1:
        print("dualjoe-backup-prepare takes no arguments", file=sys.stderr)
        return 2
    try:
        reply = prepare(Settings.load(SETTINGS))
    except (ExportFailed, manifest.ManifestError, OSError, KeyError) as error:
        reply = wire.Refused("prepare_failed", str(error)).reply()
    say(reply)
    return 0 if reply["ok"] else 1
