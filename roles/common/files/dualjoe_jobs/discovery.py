"""What there is on this machine to be saved, as Docker says."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from dualjoe import databases, uncovered
from dualjoe.uncovered import Mount

from .container import HookFailed, Run, open_file

_SECONDS = 60.0
_TRIES = 3
_OF_NO_DISK = ("/dev/", "/proc/", "/run/", "/sys/", "/var/run/")


def find_uncovered(items: Iterable[Mapping[str, Any]], ignored: Collection[str], run: Run) -> dict[str, list[str]]:
    """What no entry covers; see uncovered.py. Raises HookFailed when Docker does not answer."""
    containers = (uncovered.parse(facts) for facts in _containers(run))
    found = [replace(each, mounts=tuple(filter(_may_hold_data, each.mounts))) for each in containers if each]
    listed = run(["docker", "volume", "ls", "--format={{json .}}"], None, _SECONDS)
    volumes = [json.loads(line) for line in listed.splitlines()]
    named = [str(each["Name"]) for each in volumes if uncovered.SCRATCH not in str(each.get("Labels"))]
    return uncovered.uncovered(found, named, items, ignored, has_more)


def has_more(mount: Mount, item: Mapping[str, Any]) -> bool:
    """Whether more lies in a mount than the entry's hook saves of it. The container puts there what it likes: no link
    is followed, and only files among databases are opened."""
    places = uncovered.places(item)
    kept = [place.relative_to(mount.inside) for place in places if mount.inside in (place, *place.parents)]
    try:
        if stat.S_ISREG(os.stat(mount.source).st_mode):  # it is bound by itself
            return False
        for path, folders, files, descriptor in os.fwalk(mount.source):
            at = PurePosixPath(os.path.relpath(path, mount.source))
            if any(place in (at, *at.parents) for place in kept):  # a folder with databases
                if not all(_is_of_database(name, files, descriptor) for name in files):
                    return True
                continue
            known = {place.parts[len(at.parts)] for place in kept if at in place.parents}
            if any(name not in known and not databases.is_sidecar(name, known) for name in (*folders, *files)):
                return True
            folders[:] = [name for name in folders if item["hook"] == "sqlite" or at / name not in kept]
    except OSError:  # it cannot be told
        return True
    return False


def _is_of_database(name: str, names: Collection[str], folder: int) -> bool:
    """Whether a file is a database, or lies beside one; or has gone, or is no file."""
    if databases.is_sidecar(name, names):
        return True
    try:
        with os.fdopen(open_file(name, folder), "rb") as file:
            return file.read(len(databases.HEADER)) == databases.HEADER
    except FileNotFoundError:
        return True


def _containers(run: Run) -> list[Mapping[str, Any]]:
    """What Docker says of each container, running or not."""
    for attempt in range(1, _TRIES + 1):
        names = run(["docker", "container", "ls", "--all", "--quiet", "--no-trunc"], None, _SECONDS).split()
        try:
            return list(json.loads(run(["docker", "container", "inspect", *names], None, _SECONDS))) if names else []
        except HookFailed:  # one may have been removed since it was listed
            if attempt == _TRIES:
                raise
    return []


def _may_hold_data(mount: Mount) -> bool:
    """Whether it is a volume, or a folder or file on a disk; and not the kernel's, or a socket as Docker's own."""
    if not mount.name.startswith("/"):
        return True
    if f"{mount.name}/".startswith(_OF_NO_DISK):
        return False
    try:
        kind = stat.S_IFMT(os.stat(mount.name).st_mode)
    except OSError:  # nothing to save
        return False
    return kind in (stat.S_IFREG, stat.S_IFDIR)
