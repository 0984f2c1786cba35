"""What there is on this machine to be saved, as Docker says."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from dualjoe import uncovered
from dualjoe.uncovered import Mount

from .container import HookFailed, Run

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
    return uncovered.uncovered(found, named, items, ignored)


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
