"""What a snapshot of T440, or what T440 has exported for one, says of itself; and which one is meant.

Both have the same layout: SNAPSHOT at the top; below each container's name its CATALOG and, in DATA, its files' bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import dated

SNAPSHOT, CATALOG, DATA = "snapshot.json", "catalog.jsonl", "data"
VERSION = 2
NEWEST = "newest"
NAMES = "its name or the begin of it, 'newest', or a time (UTC) as '2026-11-25 20:00': the last one until then"

_CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 1 << 62
_MOST_CONTAINERS = 1000
_MOST_CHARACTERS = 1000


class SnapshotError(Exception):
    """It does not say what it is, or there is no such one; the message says why."""


@dataclass(frozen=True)
class Part:
    """One container of a snapshot. ``catalog``: size in bytes and SHA-256 of its catalog. ``captured_at`` (UTC, ISO
    8601) is earlier than the snapshot's where the last try to save it failed. ``unsteady``: files that were written to
    each time they were read."""

    hook: str
    files: int
    bytes: int
    catalog: tuple[int, str]
    captured_at: str
    unsteady: Sequence[str] = ()


@dataclass(frozen=True)
class Snapshot:
    """``failed``: containers that could not be saved this time -> why. ``uncovered``: names of T440's containers and
    volumes that nobody has said to save or not to save."""

    captured_at: str
    containers: Mapping[str, Part]
    failed: Mapping[str, str] = field(default_factory=dict)
    uncovered: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def files(self) -> int:
        return sum(part.files for part in self.containers.values())

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.containers.values())

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"version": VERSION, **asdict(self)}


def parse(raw: Any) -> Snapshot:
    """From what a file holds, which may come from a machine in the wrong hands. Raises SnapshotError."""
    try:
        if raw["version"] != VERSION:
            raise SnapshotError(f"version {raw['version']!r} is not {VERSION}")
        captured_at = _time(raw["captured_at"])
        containers = {_container(name): _part(told, captured_at) for name, told in raw["containers"].items()}
        failed = {_container(name): _text(why) for name, why in raw.get("failed", {}).items()}
        told = raw.get("uncovered", {})
        uncovered = {kind: [_text(name) for name in told.get(kind, ())] for kind in ("containers", "volumes")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"it makes no sense: {error!r}") from error
    if len(containers) > _MOST_CONTAINERS:
        raise SnapshotError(f"{len(containers)} containers are too many")
    return Snapshot(captured_at, containers, failed, uncovered)


def _part(raw: Mapping[str, Any], captured_at: str) -> Part:
    size, sha = raw["catalog"]
    if not _SHA256.fullmatch(sha):
        raise ValueError(sha)
    return Part(
        _text(raw["hook"]),
        _count(raw["files"]),
        _count(raw["bytes"]),
        (_count(size), sha),
        _time(raw.get("captured_at", captured_at)),
        tuple(_text(path) for path in raw.get("unsteady", ())),
    )


def _container(name: str) -> str:
    if not _CONTAINER.fullmatch(name):
        raise ValueError(name)
    return name


def _time(moment: str) -> str:
    dated.name_of(moment)
    return moment


def _text(text: str) -> str:
    return text[:_MOST_CHARACTERS].strip()


def _count(number: int) -> int:
    if type(number) is not int or not 0 <= number <= _MOST:
        raise ValueError(number)
    return number


def load(place: Path) -> Snapshot:
    """What the snapshot in this folder says. Raises SnapshotError."""
    try:
        return parse(json.loads((place / SNAPSHOT).read_text("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise SnapshotError(f"{place / SNAPSHOT}: {error}") from error
    except SnapshotError as error:
        raise SnapshotError(f"{place / SNAPSHOT}: {error}") from error


def is_old(place: Path) -> bool:
    """Whether a former version of Dual-Joe has made it: it has no catalogs."""
    return (place / "manifest.json").is_file() and not (place / SNAPSHOT).exists()


def find(folder: Path, wanted: str) -> Path:
    """The snapshot in ``folder`` that a person means by ``wanted``: see NAMES. Raises SnapshotError."""
    there = sorted(path.name for path in folder.glob("*") if dated.is_name(path.name))
    return folder / choose(there, wanted)


def choose(names: Sequence[str], wanted: str) -> str:
    """Of names of snapshots, oldest first, the one that is meant. Raises SnapshotError."""
    if wanted == NEWEST:
        found = names[-1:]
    else:
        found = [name for name in names if name.startswith(wanted)] if wanted else []
        if not found and (moment := _moment(wanted)):
            found = [name for name in names if dated.time_of(name) <= moment][-1:]
    if len(found) == 1:
        return found[0]
    which = f"{wanted} is the begin of {len(found)}" if found else f"there is no snapshot {wanted}"
    listed = f" There are {', '.join(names[-5:])}{' and older ones' if len(names) > 5 else ''}." if names else ""
    raise SnapshotError(f"{which}; 'dualjoe backup ls' lists them.{listed}")


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
