"""T440 itself: its jobs, its disk and its code, as a guard's probe would tell of a node's."""

from __future__ import annotations

from pathlib import Path

from dualjoe import boot, installed, job_results
from dualjoe.pair import Sighting


def look(results: Path, now: float, since: float) -> Sighting:
    """What the jobs have left in the folder ``results``, ``now``; T440 has watched ``since``. Seconds since boot."""
    boot_id = boot.this()
    probe = {
        "boot_id": boot_id,
        "stamp": f"{boot_id}:{round(now * 1e9)}",
        "jobs": job_results.read(results),
        "disk": installed.room(results.parent),
        "library": installed.running(),
    }
    return Sighting("T440", heard_at=now, boot_since=since, probe=probe)
