"""What the keys `restore` (of T440) and `repair` (of the other node) may do here: list the snapshots, and read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualjoe import snapshots, wire
from dualjoe.snapshots import Part, SnapshotError

from .copies import named
from .export import ExportFailed, say
from .held import Held
from .job import JobFailed
from .verified import Verified

BACKUPS = Path("/var/lib/dualjoe/backups")


def listed(backups: Path) -> Iterator[dict[str, Any]]:
    """Each snapshot, oldest first, with what verification has found: ``verified`` is good, bad, or None.

    Those of a former version, and what does not say what it is, are left out: nothing can be restored from them here.
    """
    verified, held = Verified.load(backups), _held(backups)
    for path in named(backups / "snapshots"):
        try:
            one = snapshots.load(path)
        except SnapshotError:
            continue
        parts = one.containers.items()
        yield {
            "name": path.name,
            "captured_at": one.captured_at,
            "containers": {name: {**_told(part), **_had(held, path.name, name)} for name, part in parts},
            "verified": verified.word(path.name),
            "verified_at": verified.checked_at.get(path.name),
        }


def _held(backups: Path) -> Held:
    """What is held; nothing where that cannot be read, which fails each backup, and need fail no restore."""
    try:
        return Held.load(backups)
    except JobFailed:
        return Held()


def _had(held: Held, snapshot: str, container: str) -> dict[str, int]:
    """How many bytes a container had before it shrank, for a snapshot since then."""
    return {"had": held.sizes[container][1]} if snapshot > held.until and container in held.sizes else {}


def _told(part: Part) -> dict[str, Any]:
    return {"hook": part.hook, "files": part.files, "bytes": part.bytes, "captured_at": part.captured_at}


def answer(command: str, backups: Path) -> int:
    """Do what the other side asked for. Returns an exit code; for rsync it does not return. Raises ExportFailed."""
    if command == "list":
        say(wire.ok(snapshots=list(listed(backups))))
        return 0
    if command.startswith("rsync --server --sender "):
        # It reads the command from SSH_ORIGINAL_COMMAND and refuses whatever leads out of the folder.
        folder = str(backups / "snapshots")
        os.execvp("rrsync", ["rrsync", "-ro", "-no-lock", folder])  # noqa: S606 no shell is meant
    raise ExportFailed("this key may ask for list and rsync only")


def serve(backups: Path = BACKUPS) -> int:
    """Answer one ssh connection. Failures are one JSON line, as the other side expects."""
    try:
        return answer(os.environ.get("SSH_ORIGINAL_COMMAND", ""), backups)
    except (ExportFailed, OSError) as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1
