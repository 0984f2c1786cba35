"""What T440 has and no entry of the backup covers: a forgotten container is the commonest hole. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

SCRATCH = "dualjoe.scratch"  # a label: made for a while, by a drill
_NAMELESS = re.compile(r"[0-9a-f]{64}")
# Where the servers' images, the official ones and Bitnami's, have their data.
_SERVERS = {
    "postgres": ("/var/lib/postgresql", "/bitnami/postgresql"),
    "mariadb": ("/var/lib/mysql", "/bitnami/mariadb"),
    "mysql": ("/var/lib/mysql", "/bitnami/mysql"),
    "mongodb": ("/data/db", "/data/configdb", "/bitnami/mongodb"),
    "redis": ("/data", "/bitnami/redis"),
}


@dataclass(frozen=True)
class Mount:
    """A volume, by its ``name``, or a folder or file of the machine, by its path; where the container has it, whether
    it can write there, and where the machine has it."""

    name: str
    destination: str
    writable: bool = True
    source: str = field(default="", compare=False)

    @property
    def inside(self) -> PurePosixPath:
        return PurePosixPath(self.destination)


@dataclass(frozen=True)
class Found:
    """A container that there is, running or not."""

    name: str
    mounts: Collection[Mount] = ()


HasMore = Callable[[Mount, Mapping[str, Any]], bool]


def parse(facts: Mapping[str, Any]) -> Found | None:
    """A container from what Docker says of it; None for a scratch one. Raises KeyError, TypeError."""
    if SCRATCH in (facts["Config"].get("Labels") or {}):
        return None
    mounts = [
        Mount(
            str(each["Name"] if each["Type"] == "volume" else each["Source"]),
            str(each["Destination"]),
            bool(each.get("RW", True)),
            str(each.get("Source", "")),
        )
        for each in facts.get("Mounts") or []
        if each["Type"] in ("volume", "bind")
    ]
    return Found(str(facts["Name"]).lstrip("/"), tuple(mounts))


def uncovered(
    found: Iterable[Found],
    volumes: Iterable[str],
    items: Iterable[Mapping[str, Any]],
    ignored: Collection[str],
    has_more: HasMore,
) -> dict[str, list[str]]:
    """The containers without an entry, and the volumes and bound folders that no entry saves, or not all of: the lists
    ``containers`` and ``volumes``, by name.

    ``volumes``: all named ones, mounted or not. ``items``: the entries that keep something. ``ignored``: containers and
    volumes that are left out on purpose; a container so left out takes what it mounts with it. ``has_more``: whether
    more lies in a mount than the entry's hook saves of it.
    """
    entries = {str(item["name"]): item for item in items}
    covered, seen, containers = set(ignored), set(), []
    parts: dict[str, list[str]] = {}
    for container in found:
        if container.name in entries:
            whole, of_some = _saved(entries[container.name], container.mounts, has_more)
            covered |= whole
            for name, places in of_some.items():
                parts.setdefault(name, []).extend(places)
        elif container.name in ignored:
            covered |= {mount.name for mount in container.mounts}
        else:
            containers.append(container.name)
        seen |= {mount.name for mount in container.mounts if mount.writable}
    named = {name for name in volumes if not _NAMELESS.fullmatch(name)}
    left = sorted((named | seen) - covered)
    return {"containers": sorted(containers), "volumes": [_in_words(name, parts.get(name, ())) for name in left]}


def _in_words(name: str, saved: Collection[str]) -> str:
    return f"{name} (all but {', '.join(saved)})" if saved else name


def places(item: Mapping[str, Any]) -> list[PurePosixPath]:
    """What an entry's hook saves, by paths in the container; of a server, the folders of its data."""
    hook = item["hook"]
    if hook == "redis" and item.get("path"):
        return [PurePosixPath(str(item["path"])).parent]
    if hook in ("files", "sqlite"):
        return [PurePosixPath(str(item["path"]))]
    return [PurePosixPath(place) for place in _SERVERS.get(hook, ())]


def _saved(
    item: Mapping[str, Any], mounts: Collection[Mount], has_more: HasMore
) -> tuple[set[str], dict[str, list[str]]]:
    """The mounts that an entry saves, and those of which it saves some, with what that is.

    A server's dump has all that lies below the folder of its data, whatever is mounted there. The other hooks save what
    the innermost mount has of their path: all of it where that is the whole mount, though of databases alone nobody
    knows."""
    whole = {str(name) for key in ("volumes", "binds") for name in item.get(key) or []}
    parts: dict[str, list[str]] = {}
    for place in places(item):
        if item["hook"] in _SERVERS:
            whole |= {mount.name for mount in mounts if place in (mount.inside, *mount.inside.parents)}
        holding = [mount for mount in mounts if mount.inside in (place, *place.parents)]
        for mount in sorted(holding, key=lambda mount: len(mount.destination))[-1:]:
            is_all = item["hook"] == "files" and mount.inside == place
            if is_all or mount.name in whole or not has_more(mount, item):
                whole.add(mount.name)
            else:
                parts.setdefault(mount.name, []).append(str(place))
    return whole, parts
