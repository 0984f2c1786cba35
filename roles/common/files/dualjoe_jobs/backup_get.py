"""The command `dualjoe backup get`: bring one file or folder out of a snapshot."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dualjoe import snapshots
from dualjoe.names import shown

from .backup_ls import container_of, found
from .backup_settings import BACKUPS
from .durable import sync_tree
from .tree_restore import place


def main(argv: Sequence[str] | None = None, backups: Path = BACKUPS) -> int:
    """Bring it."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup get",
        description="Bring a file or folder out of a snapshot, with its modes and times, and as root with its owners."
        " Each file is checked on the way; nothing is overwritten.",
        epilog="Exit codes: 0 done, 1 failed.",
    )
    parser.add_argument("snapshot", metavar="SNAPSHOT", help=snapshots.NAMES)
    parser.add_argument("path", metavar="CONTAINER[/PATH]", help="as 'dualjoe backup ls SNAPSHOT CONTAINER' lists it")
    parser.add_argument("target", metavar="TARGET", type=Path, help="a new place, or an empty folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    name, _, below = arguments.path.rstrip("/").partition("/")
    container = container_of(found(backups, arguments.snapshot), name)
    placed = place(container, arguments.target.absolute(), os.geteuid() == 0, below)
    sync_tree(arguments.target)
    if arguments.json:
        print(json.dumps({"snapshot": container.parent.name, **vars(placed)}))
        return 0
    print(f"{placed.files} files, {placed.bytes} bytes, from {container.parent.name}")
    for line in placed.left_out:
        print(shown(line), file=sys.stderr)
    return 0
