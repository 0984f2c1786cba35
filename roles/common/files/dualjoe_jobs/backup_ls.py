"""The command `dualjoe backup ls`: the snapshots on this node, or what is in one."""

from __future__ import annotations

import argparse
import json
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import catalog, dated, snapshots
from dualjoe.catalog import CatalogError, Entry
from dualjoe.names import shown
from dualjoe.snapshots import SnapshotError

from .backup_settings import BACKUPS
from .copies import named
from .held import Held
from .job import JobFailed
from .tree_restore import entries
from .verified import Verified

_KINDS = {
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "character": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}


def found(backups: Path, name: str) -> Path:
    """The snapshot that a person means. Raises JobFailed, also for one of a former version."""
    try:
        place = snapshots.find(backups / "snapshots", name)
    except SnapshotError as error:
        raise JobFailed(str(error)) from error
    if snapshots.is_old(place):
        raise JobFailed(f"{place.name} was made by a former version; its files lie in {place}, listed in manifest.json")
    return place


def container_of(place: Path, name: str) -> Path:
    """A container's folder in a snapshot. Raises JobFailed."""
    try:
        there = snapshots.load(place).containers
    except SnapshotError as error:
        raise JobFailed(str(error)) from error
    if name not in there:
        raise JobFailed(f"there is no container {shown(name)} in {place.name}, but {', '.join(sorted(there))}")
    return place / name


def told(entry: Entry) -> dict[str, Any]:
    """An entry of a catalog, for programs: without what it does not say."""
    fields = {name: value for name, value in entry._asdict().items() if value}
    return {**fields, "xattrs": dict(entry.xattrs)} if entry.xattrs else fields


def _snapshots(backups: Path) -> Iterator[dict[str, Any]]:
    """Each snapshot, oldest first."""
    verified, now = Verified.load(backups), datetime.now(timezone.utc)
    current = (backups / "current").resolve().name
    held = Held.load(backups).spared(path.name for path in named(backups / "snapshots"))
    for path in named(backups / "snapshots"):
        one: dict[str, Any] = {"snapshot": path.name, "current": path.name == current}
        if snapshots.is_old(path):
            yield {**one, "error": "made by a former version: it cannot be verified"}
            continue
        try:
            says = snapshots.load(path)
        except SnapshotError as error:
            yield {**one, "error": str(error)}
            continue
        age = now - dated.time_of(dated.name_of(says.captured_at))
        parts = {
            name: {"files": part.files, "bytes": part.bytes, "captured_at": part.captured_at}
            for name, part in says.containers.items()
        }
        yield {
            **one,
            "captured_at": says.captured_at,
            "age_seconds": round(age.total_seconds()),
            "verified": verified.word(path.name),
            "verified_at": verified.checked_at.get(path.name),
            "damaged": verified.damaged.get(path.name, []),
            "held": path.name in held,
            "failed": dict(says.failed),
            "containers": parts,
        }


def _line(one: dict[str, Any]) -> Iterator[str]:
    begin = f"{'*' if one['current'] else ' '} {one['snapshot']}"
    if "error" in one:
        yield f"{begin}  {shown(one['error'])}"
        return
    notes = [
        {"good": "verified", "bad": f"{len(one['damaged'])} files damaged"}.get(one["verified"], "not verified yet"),
        *(["kept until a drop is accepted"] if one["held"] else []),
    ]
    yield f"{begin}  {one['age_seconds'] // 60} min old, {', '.join(notes)}"
    for name, part in one["containers"].items():
        stale = f", as of {part['captured_at']}: it could not be saved" if name in one["failed"] else ""
        yield f"    {name}: {part['files']} files, {part['bytes']} bytes{stale}"


def _inside(place: Path, path: str) -> Iterator[Entry]:
    """The entry at CONTAINER/PATH, or what is in that folder. Raises JobFailed."""
    name, _, below = path.rstrip("/").partition("/")
    something = False
    try:
        with entries(container_of(place, name)) as listed:
            for entry in catalog.within(listed, below):
                something = True
                rest = entry.path[len(below) :].lstrip("/")
                if "/" not in rest and (rest or entry.type != "directory"):
                    yield entry
    except (CatalogError, OSError, ValueError) as error:
        raise JobFailed(f"the catalog of {name} in {place.name}: {error}; see 'dualjoe backup verify'") from error
    if not something:
        raise JobFailed(f"there is no {shown(below)} in {name}")


def _entry_line(entry: Entry) -> str:
    mode = stat.filemode(_KINDS.get(entry.type, stat.S_IFREG) | entry.mode)
    moment = datetime.fromtimestamp(entry.mtime_ns // 1_000_000_000, timezone.utc)
    arrow = f" -> {shown(entry.target)}" if entry.target else f" = {shown(entry.link)}" if entry.link else ""
    return f"{mode} {entry.uid:>5} {entry.gid:>5} {entry.size:>12} {moment:%Y-%m-%d %H:%M} {shown(entry.path)}{arrow}"


def main(argv: Sequence[str] | None = None, backups: Path = BACKUPS) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup ls",
        description="The snapshots on this node, oldest first; or the containers or files in one.",
    )
    parser.add_argument("snapshot", nargs="?", metavar="SNAPSHOT", help=snapshots.NAMES)
    parser.add_argument("path", nargs="?", metavar="CONTAINER[/PATH]", help="what is in this folder of it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    if arguments.path is not None:
        inside = _inside(found(backups, arguments.snapshot), os.fspath(arguments.path))
        if arguments.json:
            print(json.dumps({"entries": [told(entry) for entry in inside]}))
        else:
            for entry in inside:
                print(_entry_line(entry))
        return 0
    name = arguments.snapshot and found(backups, arguments.snapshot).name
    there = [one for one in _snapshots(backups) if name in (None, one["snapshot"])]
    if arguments.json:
        print(json.dumps({"snapshots": there}))
        return 0
    for one in there:
        for line in _line(one):
            print(line)
    if not there:
        print("there is no snapshot yet")
    return 0
