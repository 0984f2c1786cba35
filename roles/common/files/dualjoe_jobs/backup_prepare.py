"""Save all containers' data into one export on T440, for the nodes to fetch.

Runs as root, without arguments, by one sudoers line. What it writes lies below a folder that only root can write, and
account dualjoe-backup can read. The export is replaced as a whole. Of a container that cannot be saved it keeps the
part of the last export, and says so: the others are saved all the same.
"""

from __future__ import annotations

import grp
import json
import math
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualjoe import wire
from dualjoe.turns import turns

from . import export, locks, quiesce
from .backup_hooks import HOOKS
from .backup_part import Part
from .container import Container, HookFailed, Run, run_program
from .discovery import find_uncovered
from .durable import sync_folder, sync_tree
from .export import ExportFailed, answer, renewed, say
from .job import JobFailed, utc_now
from .restore_journal import STATE, Journal
from .room import check_reserve

SETTINGS = Path("/etc/dualjoe/backup.json")
SNAPSHOT = "snapshot.json"
_VERSION = 2
_UMASK = 0o027
_TOLD = 20  # of each list, in the reply: it is one line, and snapshot.json has the whole


@dataclass(frozen=True)
class Settings:
    """What /etc/dualjoe/backup.json says on T440. ``hook_seconds``: for one container at most; ``export_seconds``: for
    all of them together; ``images``: where archives of images are, by name; ``ignore`` names the containers and volumes
    that are left out on purpose."""

    export: Path
    group: str
    hook_seconds: float
    containers: Sequence[Mapping[str, Any]]
    images: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    export_seconds: float = math.inf

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read the file that role backup writes. Raises ExportFailed."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            settings = cls(
                Path(raw["export"]),
                raw["group"],
                float(raw["hook_seconds"]),
                raw["containers"],
                raw.get("images", {}),
                raw.get("ignore", []),
                float(raw.get("export_seconds", math.inf)),
            )
            hooks = {str(item["hook"]) for item in settings.containers}
            ways = {str(item.get("quiesce", "none")) for item in settings.containers}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportFailed(f"{path}: {error!r}; run site.yml again") from error
        for what, unknown in (("hook", hooks - set(HOOKS)), ("quiesce", ways - set(quiesce.WAYS))):
            if unknown:
                raise ExportFailed(f"{path}: no such {what}: {', '.join(sorted(unknown))}")
        if not settings.containers:
            raise ExportFailed(f"{path}: there is no container to save; fill containers_list and run site.yml")
        return settings


def prepare(
    settings: Settings, run: Run = run_program, notes: Path = quiesce.NOTES, restores: Path = STATE
) -> dict[str, Any]:
    """Save everything and put it in place of the previous export. Returns the reply for the puller. ``restores``: where
    those note what they have begun.

    Raises ExportFailed when nothing at all could be saved; then the previous export stays as it was.
    """
    parent = settings.export.parent
    _check_folder(parent)
    indexes = parent / "index"
    indexes.mkdir(mode=0o700, exist_ok=True)
    # The puller's command has a lock of its own; it may have been killed, and left this program to itself.
    held = export.lock(indexes, locks.EXCLUSIVE)
    try:
        quiesce.resume_left(notes, run)
        with renewed(settings.export) as tree:
            os.chown(tree, -1, grp.getgrnam(settings.group).gr_gid)
            tree.chmod(0o2750)  # what is made in it is the group's
            snapshot = _save_all(settings, tree, indexes, run, notes, _cut_off(restores))
            (tree / SNAPSHOT).write_text(json.dumps(snapshot, indent=1) + "\n", "utf-8")
            (tree / SNAPSHOT).chmod(0o640)
            sync_tree(tree)
        sync_folder(parent)
        _keep_indexes(indexes, snapshot)
    finally:
        os.close(held)
    return _reply(snapshot)


def _check_folder(parent: Path) -> None:
    """What root writes must lie where nobody else can exchange folders for links."""
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ExportFailed(
            f"{parent} must be a folder that only {'root' if os.geteuid() == 0 else 'its user'} can write"
        )


def _cut_off(restores: Path) -> Mapping[str, str]:
    """Why these containers are not saved: they may be half full. Raises ExportFailed when nobody knows which."""
    try:
        journal = Journal(restores)
    except JobFailed as error:
        raise ExportFailed(str(error)) from error
    return {
        name: f"a restore of it was cut off, and it may be half full: `dualjoe-restore run {name}` goes on with that;"
        f" if it is as it should be, remove {journal.path}"
        for name in journal.begun()
    }


def _save_all(
    settings: Settings, tree: Path, indexes: Path, run: Run, notes: Path, cut_off: Mapping[str, str]
) -> dict[str, Any]:
    """Save each container, also after one that failed. Returns what snapshot.json says; raises ExportFailed."""
    captured_at = utc_now()
    try:
        uncovered = find_uncovered(settings.containers, settings.ignore, run)
    except (HookFailed, ValueError, LookupError, TypeError) as error:
        raise ExportFailed(f"Docker does not say what there is: {error}") from error
    before, had_failed = _last(settings.export)
    parts: dict[str, Any] = {}
    failed: dict[str, str] = {}
    items = {str(item["name"]): item for item in settings.containers}
    took = {name: float(part["seconds"]) for name, part in before.items() if "seconds" in part}
    over = time.monotonic() + settings.export_seconds
    for name, share in turns(items, took, had_failed, settings.hook_seconds):
        last = before.get(name)
        part = Part(tree / name, settings.export / name, indexes / _sum(last), indexes / ".new", notes)
        now = time.monotonic()
        container = Container(name, items[name], now + min(settings.hook_seconds, (over - now) * share), run)
        began = utc_now()
        try:
            _refuse(cut_off.get(name))
            check_reserve(tree, int((last or {}).get("dumped", 0)))
            saved = {**part.save(container, settings.images), "captured_at": began}
            saved["seconds"] = round(time.monotonic() - now, 1)
            part.index.replace(indexes / _sum(saved))
            parts[name] = saved
        except Exception as error:  # noqa: BLE001 whatever a container's data provoke, the others are saved
            failed[name] = str(error) if isinstance(error, (HookFailed, JobFailed, OSError)) else repr(error)
            shutil.rmtree(part.folder, ignore_errors=True)
            if last and _share_part(part):
                parts[name] = last
    if len(failed) == len(items):
        raise ExportFailed("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return {
        "version": _VERSION,
        "captured_at": captured_at,
        "containers": parts,
        "failed": failed,
        "uncovered": uncovered,
    }


def _refuse(why: str | None) -> None:
    if why:
        raise HookFailed(why)


def _last(tree: Path) -> tuple[Mapping[str, Any], Collection[str]]:
    """What the last export says of its containers, and which had failed; nothing where there is none."""
    try:
        said = json.loads((tree / SNAPSHOT).read_text("utf-8"))
        return (dict(said["containers"]), set(said["failed"])) if said["version"] == _VERSION else ({}, ())
    except (OSError, ValueError, LookupError, TypeError):
        return {}, ()


def _sum(part: Mapping[str, Any] | None) -> str:
    """The name of a part's index: its catalog's sum, so that neither is taken for another one's."""
    return str(part["catalog"][1]) if part else "none"


def _share_part(part: Part) -> bool:
    """Have the part of the last export. Whether that was possible."""
    try:
        _share(part.previous, part.folder)
    except OSError:  # it is gone, or there is no room
        shutil.rmtree(part.folder, ignore_errors=True)
        return False
    return True


def _share(old: Path, new: Path) -> None:
    """Let ``new`` be a folder of the same files as ``old``."""
    new.mkdir(mode=0o750)
    with os.scandir(old) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _share(old / entry.name, new / entry.name)
            else:
                os.link(entry.path, new / entry.name, follow_symlinks=False)


def _keep_indexes(indexes: Path, snapshot: Mapping[str, Any]) -> None:
    """Remove the indexes of exports that are no more."""
    kept = {_sum(part) for part in snapshot["containers"].values()}
    for path in indexes.iterdir():
        if path.name not in kept:
            path.unlink()


def _reply(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    parts = snapshot["containers"].values()
    return wire.ok(
        captured_at=snapshot["captured_at"],
        files=sum(part["files"] for part in parts),
        bytes=sum(part["bytes"] for part in parts),
        failed=dict(list(snapshot["failed"].items())[:_TOLD]),
        uncovered={kind: names[:_TOLD] for kind, names in snapshot["uncovered"].items()},
        unsteady=sum(len(part.get("unsteady", ())) for part in parts),
    )


def serve() -> int:
    """The forced command of the nodes' backup keys: root prepares the tree, account dualjoe-backup hands it out."""
    prepare = ("sudo", "-n", "/usr/local/bin/dualjoe-backup-prepare")
    try:
        export = Settings.load(SETTINGS).export
    except ExportFailed as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
    return answer(export, lambda: subprocess.run(prepare, stdin=subprocess.DEVNULL, check=False).returncode)


def tell(settings: Settings, run: Run = run_program, notes: Path = quiesce.NOTES) -> int:
    """Prepare, and print one JSON line: what was exported, or why nothing was. What snapshot.json says comes after it,
    so that a node need not come again for that. 0 or 1."""
    try:
        reply = prepare(settings, run, notes)
        listed = (settings.export / SNAPSHOT).read_bytes()
    except (ExportFailed, OSError, KeyError) as error:
        reply, listed = wire.Refused("prepare_failed", str(error)).reply(), b""
    say(reply, listed)
    return 0 if reply["ok"] else 1


def main() -> int:
    """The command that root runs for a node. 0 or 1."""
    os.umask(_UMASK)
    if len(sys.argv) > 1:
        print("dualjoe-backup-prepare takes no arguments", file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a folder on the way down is open three times
    try:
        settings = Settings.load(SETTINGS)
    except ExportFailed as error:
        say(wire.Refused("prepare_failed", str(error)).reply())
        return 1
    return tell(settings)
