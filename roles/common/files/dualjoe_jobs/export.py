"""What a puller's key may do at the source: have an export prepared, and read it. Nothing else.

`export` prepares the tree under an exclusive lock; rsync's sender may then read it, under a shared one. The lock is one
on the folder around the tree, so that there is no lock file to forget or to forge.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualjoe import wire

from . import locks
from .job import JobFailed

LOCK_SECONDS = 900  # so long one waits for the other
_LEFTOVER = ".export-"
_NOTHING: Mapping[str, Callable[[], int]] = {}


class ExportFailed(JobFailed):
    """Nothing new was exported; the message says why, and what to look at."""


def lock(folder: Path, how: int, seconds: float = LOCK_SECONDS) -> int:
    """Take a lock on ``folder``. Returns the descriptor that holds it. Raises ExportFailed when it cannot be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    if not locks.take(descriptor, how, seconds):
        os.close(descriptor)
        raise ExportFailed(f"another run has been using {folder} for {seconds:.0f} s")
    return descriptor


Work = Callable[[], int]


def serve(
    command: str,
    export: Path,
    prepare: Work,
    lock_seconds: float = LOCK_SECONDS,
    others: Mapping[str, Work] = _NOTHING,
) -> int:
    """Do what the other side asked for. Returns an exit code; for rsync it does not return.

    ``prepare`` makes the tree at ``export`` anew, prints its one reply line and returns the exit code. ``others`` are
    commands that need no lock.
    """
    if command in others:
        return others[command]()
    if command == "export":
        held = lock(export.parent, locks.EXCLUSIVE, lock_seconds)
        try:
            return prepare()
        finally:
            os.close(held)
    if command.startswith("rsync --server --sender "):
        os.set_inheritable(lock(export.parent, locks.SHARED, lock_seconds), True)
        # It reads the command from SSH_ORIGINAL_COMMAND and refuses whatever leads out of the folder.
        # Its own lock would let only one node read at a time.
        os.execvp("rrsync", ["rrsync", "-ro", "-no-lock", str(export)])  # noqa: S606 no shell is meant
    raise ExportFailed(f"this key may ask for {', '.join(['export', *others])} and rsync only")


@contextmanager
def renewed(export: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of ``export`` when the block ends without an exception.

    The caller has the lock that keeps readers away.
    """
    for leftover in export.parent.glob(_LEFTOVER + "*"):  # of a run that was killed
        shutil.rmtree(leftover)
    tree = Path(tempfile.mkdtemp(prefix=_LEFTOVER, dir=export.parent))
    try:
        yield tree
        if export.exists():
            export.rename(Path(tempfile.mkdtemp(prefix=_LEFTOVER, dir=export.parent)) / "old")
        tree.rename(export)
    finally:
        for leftover in export.parent.glob(_LEFTOVER + "*"):
            shutil.rmtree(leftover, ignore_errors=True)


def answer(export: Path, prepare: Work, others: Mapping[str, Work] = _NOTHING) -> int:
    """Answer one ssh connection. Failures are one JSON line, as the other side expects."""
    try:
        return serve(os.environ.get("SSH_ORIGINAL_COMMAND", ""), export, prepare, others=others)
    except (JobFailed, OSError) as error:
        say(wire.Refused("export_failed", str(error)).reply())
        return 1


def say(reply: dict[str, Any], listed: bytes = b"") -> None:
    """The one line that the other side waits for, and what it would ask for next."""
    sys.stdout.buffer.write(wire.encode(reply) + listed)
    sys.stdout.buffer.flush()
