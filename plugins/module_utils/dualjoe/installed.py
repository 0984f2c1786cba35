"""What of a machine a probe tells beside its part in the pair: room on its disk, and which code it runs."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any


def room(folder: Path) -> dict[str, Any]:
    """How much of the folder's disk may still be written, and how large it is; empty where that cannot be told."""
    try:
        told = os.statvfs(folder)
    except OSError:
        return {}
    return {"free_bytes": told.f_bavail * told.f_frsize, "total_bytes": told.f_blocks * told.f_frsize}


@lru_cache(maxsize=1)
def running() -> str:
    """The library that this process runs: equal on machines that run the same. What is on the disk may be newer."""
    return on_disk(Path(__file__).parent)


def on_disk(library: Path) -> str:
    """The library in a folder, in the same words. Raises OSError."""
    digest = hashlib.sha256()
    for path in sorted(library.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
