"""How much of a disk the jobs leave free: it is the one that Joe writes to."""

from __future__ import annotations

import os
from pathlib import Path

from .job import JobFailed

# The lesser of the two.
_RESERVE, _RESERVE_BYTES, _RESERVE_FILES = 0.05, 5 << 30, 100_000


def check_room(folder: Path, size: int, files: int) -> None:
    """Raise JobFailed unless ``size`` bytes more in so many files, whose last blocks are whole, leave the disk its
    reserve."""
    disk = os.statvfs(folder)
    free = (disk.f_bavail - files) * disk.f_frsize - size
    if free < _reserve(disk):
        raise JobFailed(f"too little room in {folder} for {size >> 20} MiB more")
    if disk.f_files and disk.f_favail < files + _reserve_files(disk):
        raise JobFailed(f"too few inodes in {folder} for {files} more files")


def check_reserve(folder: Path, size: int = 0) -> None:
    """Raise JobFailed when half of the reserve is gone, or would be with ``size`` bytes more: while what was found to
    have room arrives, and where nobody knows how much will be written."""
    disk = os.statvfs(folder)
    few_files = disk.f_files and disk.f_favail < _reserve_files(disk) / 2
    if few_files or disk.f_bavail * disk.f_frsize - size < _reserve(disk) / 2:
        raise JobFailed(
            f"the disk of {folder} is nearly full: more is to be written than there is room for, or somebody else"
            " writes there; see 'df -h' and 'df -i'"
        )


def _reserve(disk: os.statvfs_result) -> float:
    return min(_RESERVE * disk.f_blocks * disk.f_frsize, _RESERVE_BYTES)


def _reserve_files(disk: os.statvfs_result) -> float:
    return min(_RESERVE * disk.f_files, _RESERVE_FILES)
