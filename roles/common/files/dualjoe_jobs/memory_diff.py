"""The command `dualjoe memory diff`: what differs between two copies of the memory, or a copy and the live memory."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dualjoe import differences

from . import manifest
from .account import check_account
from .capture import Capture
from .job import JobFailed, utc_now
from .manifest import Manifest, ManifestError
from .memory import ROOT, SETTINGS, Memory
from .memory_trees import CURRENT, LIVE, NAMES, find
from .rsync import Deadline


@contextmanager
def opened(memory: Memory, name: str) -> Iterator[tuple[Path, Manifest]]:
    """The tree called ``name`` and what is in it. The live memory is copied for it, as databases must be. Raises
    JobFailed."""
    if name != LIVE:
        tree = find(memory, name)
        try:
            made = manifest.load(tree)
        except ManifestError as error:
            raise JobFailed(f"{tree}: {error}") from error
        yield tree, made
        return
    memory.check_sentinel()
    with tempfile.TemporaryDirectory(prefix="look-", dir=memory.root) as folder:
        capture = Capture(Path(folder) / "tree", memory.sets, memory.forget_tables)
        yield capture.tree, capture.renew(utc_now(), Deadline(memory.source.run_seconds).left).made


def lines(
    old: tuple[Path, Manifest], new: tuple[Path, Manifest], paths: Collection[str] | None = None
) -> Iterator[str]:
    """What differs from ``old`` to ``new``, for people; of ``paths`` only, where they are given."""
    (old_tree, before), (new_tree, after) = old, new
    for path in sorted(before.sums.keys() | after.sums.keys()):
        if before.sums.get(path) != after.sums.get(path) and (paths is None or path in paths):
            yield from differences.of_file(
                path,
                old_tree / path if path in before.sums else None,
                new_tree / path if path in after.sums else None,
            )


def main(argv: Sequence[str] | None = None, settings: Path = SETTINGS, root: Path = ROOT) -> int:
    """Print it."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory diff",
        description="What differs from A to B: text line by line, databases by their tables' numbers of rows.",
        epilog=f"A and B: {NAMES}, or 'live' for the live memory of this node. Exit codes: 0 done, 1 failed.",
    )
    parser.add_argument("old", nargs="?", default=CURRENT, metavar="A", help="the older one (default: current)")
    parser.add_argument("new", nargs="?", default=LIVE, metavar="B", help="the newer one (default: live)")
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    check_account(root)
    memory = Memory.load(settings, root)
    with opened(memory, arguments.old) as old, opened(memory, arguments.new) as new:
        for line in lines(old, new):
            print(line)
    return 0
