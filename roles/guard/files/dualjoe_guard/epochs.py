"""The epoch file: the highest epoch this node ever accepted, the epoch of its last own lease, and the pause that it
keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dualjoe.wire import MAX_EPOCH


class BadEpochFile(Exception):
    """The file is missing or broken. Never read as epoch 0: that would open the door to an old grant."""


def load(path: Path) -> tuple[int, int, int]:
    """(epoch, term, hold) from ``path``; ``hold`` is the length of a pause in nanoseconds. Raises BadEpochFile."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        epoch, term, hold = raw["epoch"], raw["term"], raw.get("hold", 0)
        whole = all(type(number) is int for number in (epoch, term, hold))
        good = raw["version"] == 1 and whole and 0 <= term <= epoch <= MAX_EPOCH and hold >= 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadEpochFile(f"{path}: {error or type(error).__name__}") from error
    if not good:
        raise BadEpochFile(f"{path}: not an epoch file")
    return epoch, term, hold


def store(path: Path, epoch: int, term: int, hold: int = 0) -> None:
    """Write durably: the new file is on disk, under its name, before this returns. Raises OSError."""
    draft = path.with_name(path.name + ".new")
    with open(draft, "w", encoding="utf-8") as out:
        json.dump({"version": 1, "epoch": epoch, "term": term, "hold": hold}, out)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
