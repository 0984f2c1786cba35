"""What a node's backup key may do on T440: have an export prepared, and read it. Nothing else.

The forced command `dualjoe-export backup` of account dualjoe-backup calls main(). `export` lets root prepare the tree,
under an exclusive lock; rsync's sender may then read it, under a shared one. The lock is one on the folder itself, so
that there is no lock file to forget or to forge.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dualjoe import wire

from .backup_prepare import SETTINGS, PrepareFailed, Settings

PREPARE = ("sudo", "-n", "/usr/local/bin/dualjoe-backup-prepare")
_LOCK_SECONDS = 900.0
_POLL_SECONDS = 0.2


def lock(folder: Path, how: int, seconds: float) -> int:
    """Take a kernel lock on ``folder``, wait at most ``seconds``. Returns the descriptor that holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise PrepareFailed(f"another backup has been using {folder} for {seconds:.0f} s") from error
            time.sleep(_POLL_SECONDS)
        else:
            return descriptor


def serve(command: str, export: Path, prepare: Sequence[str], lock_seconds: float = _LOCK_SECONDS) -> int:
    """Do what the other side asked for. Returns an exit code; for rsync it does not return."""
    if command == "export":
        held = lock(export.parent, fcntl.LOCK_EX, lock_seconds)
        try:
            return subprocess.run(prepare, stdin=subprocess.DEVNULL, check=False).returncode
        finally:
            os.close(held)
    if command.startswith("rsync --server --sender "):
        os.set_inheritable(lock(export.parent, fcntl.LOCK_SH, lock_seconds), True)
        # It reads the command from SSH_ORIGINAL_COMMAND and refuses whatever leads out of the folder.
        # Its own lock would let only one node read at a time.
        os.execvp("rrsync", ["rrsync", "-ro", "-no-lock", str(export)])  # noqa: S606 no shell is meant
    raise PrepareFailed("this key may ask for 'export' and rsync only")


def main() -> int:
    """Answer one ssh connection. Failures are one JSON line, as the other side expects."""
    try:
        settings = Settings.load(SETTINGS)
        return serve(os.environ.get("SSH_ORIGINAL_COMMAND", ""), settings.export, PREPARE)
    except (PrepareFailed, OSError) as error:
        sys.stdout.buffer.write(wire.encode(wire.Refused("export_failed", str(error)).reply()))
        return 1
