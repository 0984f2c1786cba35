"""Change the live memory, file by file. The caller has the lock, and no gateway runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from .manifest import Manifest
from .memory import Memory


def change(
    memory: Memory,
    source: Path,
    made: Manifest,
    found: Manifest,
    *,
    gone: Collection[str],
    new: Sequence[str],
    check_time: Callable[[], object],
) -> str:
    """Remove the files at ``gone``, and bring those at ``new`` from the tree ``source``, which ``made`` tells of. Each
    is checked on the way, and there as a whole or not at all. ``found``: what there is, as it was captured just now.
    Returns the content that there is then. Raises JobFailed."""
    sets = {each.name: each for each in memory.sets}
    for path in gone:
        name, _, rest = path.partition("/")
        sets[name].remove(rest)
    for path in new:
        name, _, rest = path.partition("/")
        sets[name].write(rest, source / path, made.sums[path], made.mode(path), check_time)
    brought = (
        (path, sets[name].path / rest, source / path, made.sums[path])
        for path in new
        for name, _, rest in [path.partition("/")]
    )
    return memory.capture.adopt(found, gone, brought)
