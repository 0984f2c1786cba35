"""Move, copy and remove what a restore finds and brings, with all that belongs to it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .job import JobFailed
from .rsync import first_line

PART = ".dualjoe-part"


def carry(entries: Sequence[Path], folder: Path) -> None:
    """Bring entries of one folder into another, ``folder``, where nothing has their names: they are renamed, or copied
    with all that belongs to them. Each is there as a whole or not at all; the originals of copies stay.

    Raises JobFailed, OSError.
    """
    for number, entry in enumerate(entries):
        try:
            entry.rename(folder / entry.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(entries[number:], folder)
            return


def _copy(entries: Sequence[Path], folder: Path) -> None:
    part = folder / PART
    remove(part)
    # In one run, as some may be names of one file.
    argv = ["rsync", "-rlptgoDHAXS", "--numeric-ids", "--from0", "--files-from=-", f"{entries[0].parent}/", f"{part}/"]
    names = b"\0".join(os.fsencode(entry.name) for entry in entries)
    done = subprocess.run(argv, input=names, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        remove(part)
        raise JobFailed(f"{entries[0].parent} could not be copied to {folder}: {first_line(done.stderr)}")
    for entry in entries:
        (part / entry.name).rename(folder / entry.name)
    remove(part)


def own(copy: Path, like: Path) -> None:
    """Give what root has written the owner and mode of another; a file gets of a folder the owner only."""
    status = like.lstat()
    os.chown(copy, status.st_uid, status.st_gid)
    alike = stat.S_IFMT(status.st_mode) == stat.S_IFMT(copy.lstat().st_mode)
    copy.chmod(stat.S_IMODE(status.st_mode) if alike else 0o640)


def remove(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def existing(path: Path) -> Path:
    """The first of a path and the folders above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
