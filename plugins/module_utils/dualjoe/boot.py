"""Which boot of a machine this is. Its service tells the jobs: in a container their /proc may tell of another one."""

from __future__ import annotations

import logging
from pathlib import Path


def this() -> str:
    """The kernel's word. Raises OSError."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def tell(place: Path, boot_id: str) -> None:
    """Write it down for the jobs."""
    try:
        place.write_text(f"{boot_id}\n", encoding="ascii")
    except OSError as error:  # T440 will call the jobs overdue; the gateway needs none of it
        logging.getLogger(__name__).error("%s: %s", place, error.strerror)
