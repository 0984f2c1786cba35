"""What T440 has and no entry of the backup covers: a forgotten container is the commonest hole. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

SCRATCH = "dualjoe.scratch"  # a label: made for a while, by a drill
_NAMELESS = re.compile(r"[0-9a-f]{64}")
_WHOLE_SERVERS = frozenset({"postgres", "mariadb", "mysql", "mongodb", "redis"})


@dataclass(frozen=True)
class Mount:
    """A volume, by its ``name``, or a folder or file of the machine, by its path; where the container has it, and
    whether it can write there."""

    name: str
    destination: str
    writable: bool = True


@dataclass(frozen=True)
class Found:
    """A container that there is, running or not."""

    name: str
    mounts: Collection[Mount] = ()


def parse(facts: Mapping[str, Any]) -> Found | None:
    """A container from what Docker says of it; None for a scratch one. Raises KeyError, TypeError."""
    if SCRATCH in (facts["Config"].get("Labels") or {}):
        return None
    mounts = [
        Mount(
            str(each["Name"] if each["Type"] == "volume" else each["Source"]),
            str(each["Destination"]),
            bool(each.get("RW", True)),
        )
        for each in facts.get("Mounts") or []
        if each["Type"] in ("volume", "bind")
    ]
    return Found(str(facts["Name"]).lstrip("/"), tuple(mounts))


def uncovered(
    found: Iterable[Found], volumes: Iterable[str], items: Iterable[Mapping[str, Any]], ignored: Collection[str]
) -> dict[str, list[str]]:
    """The containers without an entry, and the volumes and bound folders that no entry saves: the lists ``containers``
    and ``volumes``, by name.

    ``volumes``: all named ones, mounted or not. ``items``: the entries that keep something. ``ignored``: containers and
    volumes that are left out on purpose; a container so left out takes what it mounts with it.

    A database server's dump covers all that its container mounts; a folder or SQLite database covers the mount that
    it is in.
    """
    entries = {str(item["name"]): item for item in items}
    covered, seen, containers = set(ignored), set(), []
    for container in found:
        names = {mount.name for mount in container.mounts}
        if container.name in ignored:
            covered |= names
        elif container.name in entries:
            covered |= _covered(entries[container.name], container.mounts)
        else:
            containers.append(container.name)
        seen |= {mount.name for mount in container.mounts if mount.writable}
    named = {name for name in volumes if not _NAMELESS.fullmatch(name)}
    return {"containers": sorted(containers), "volumes": sorted((named | seen) - covered)}


def _covered(item: Mapping[str, Any], mounts: Collection[Mount]) -> set[str]:
    kept = {str(name) for key in ("volumes", "binds") for name in item.get(key) or []}
    if item["hook"] in _WHOLE_SERVERS:
        return kept | {mount.name for mount in mounts}
    if item["hook"] in ("files", "sqlite"):
        place = PurePosixPath(str(item["path"]))
        holding = [mount for mount in mounts if PurePosixPath(mount.destination) in (place, *place.parents)]
        kept |= {mount.name for mount in sorted(holding, key=lambda mount: len(mount.destination))[-1:]}
    return kept
