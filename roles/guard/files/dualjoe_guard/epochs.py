"""The epoch file: the highest epoch this node ever accepted, and the epoch of its last own lease."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dualjoe.wire import MAX_EPOCH


class BadEpochFile(Exception):
    """The file is missing or broken. Never read as epoch 0: that would open the door to an old grant."""


def load(path: Path) -> tuple[int, int]:
    """(epoch, term) from ``path``. Raises BadEpochFile."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        epoch, term = raw["epoch"], raw["term"]
        good = raw["version"] == 1 and type(epoch) is int and type(term) is int and 0 <= term <= epoch <= MAX_EPOCH
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadEpochFile(f"{path}: {error or type(error).__name__}") from error
    if not good:
        raise BadEpochFile(f"{path}: not an epoch file")
    return epoch, term


def store(path: Path, epoch: int, term: int) -> None:
    """Write durably: the new file is on disk, under its name, before this returns. Raises OSError."""
    draft = path.with_name(path.name + ".new")
    with open(draft, "w", encoding="utf-8") as out:
        json.dump({"version": 1, "epoch": epoch, "term": term}, out)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
