"""The command `dualjoe memory restore`: bring back a generation, or files of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualjoe.names import shown
from dualjoe.validation import validate

from . import manifest, own_guard, restore
from .account import check_account
from .job import JobFailed
from .manifest import Manifest
from .memory import ROOT, SETTINGS, Memory
from .memory_diff import lines, opened
from .memory_trees import KINDS, LIVE, NAMES, find
from .own_guard import Probe


def main(
    argv: Sequence[str] | None = None,
    settings: Path = SETTINGS,
    root: Path = ROOT,
    probe: Probe = own_guard.probe,
) -> int:
    """Check it, and have it done at this node's next grant."""
    parser = argparse.ArgumentParser(
        prog="dualjoe memory restore",
        description="Bring back a generation of memory, or files of it, when Joe starts on this node next. What it"
        " replaces is kept.",
        epilog="Exit codes: 0 done, 1 failed.",
    )
    parser.add_argument("name", metavar="GENERATION", help=NAMES)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a file or folder in it, as workspace/MEMORY.md")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change in the live memory")
    arguments = parser.parse_args(argv)
    os.umask(0o027)
    check_account(root)
    memory = Memory.load(settings, root)
    tree = find(memory, arguments.name)
    with opened(memory, arguments.name) as source:
        wanted = _checked(memory, tree, source[1], arguments.paths)
        if arguments.dry_run:
            with opened(memory, LIVE) as live:
                gone = [] if arguments.paths else restore.surplus(live[1], wanted)
                for line in lines(live, source, {*wanted, *gone}):
                    print(line)
            return 0
    own = probe()
    restore.ask(memory, f"{tree.parent.name}/{tree.name}", arguments.paths)
    print(_what_to_do(own))
    return 0


def _checked(memory: Memory, tree: Path, made: Manifest, paths: Sequence[str]) -> list[str]:
    """The files to restore. Raises JobFailed when they are not what the manifest says, or are bad memory."""
    wanted = restore.chosen(memory, made, paths)
    for path in wanted:
        try:
            good = manifest.sum_of(tree / path) == made.sums[path]
        except OSError:
            good = False
        if not good:
            raise JobFailed(f"{shown(path)} in {tree} is not what its manifest says: this copy is damaged")
    if tree.parent.name == KINDS[1] and not paths:
        report = validate(tree, None, memory.policy)
        if not report.good:
            raise JobFailed(f"{tree.name} is bad memory: {report.summary()}. Name the files in it that you want")
    return wanted


def _what_to_do(own: Mapping[str, Any]) -> str:
    until = restore.VALID.total_seconds() / 60
    when = f"It is done when Joe starts on {own['node']} next, if that is within {until:.0f} min."
    if own["role"] == "active":
        return (
            f"{when} He runs here now. As root on this node, 'systemctl restart dualjoe-guard' stops him; T440 has him"
            " start again here, with the restored memory."
        )
    return f"{when} On T440, 'dualjoe switchover' moves him here, with the restored memory."
