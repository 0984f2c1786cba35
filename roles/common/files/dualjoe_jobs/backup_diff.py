"""The command `dualjoe backup diff`: what has changed between two snapshots."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dualjoe import catalog, snapshots
from dualjoe.catalog import CatalogError, Entry
from dualjoe.names import shown
from dualjoe.snapshots import SnapshotError

from .backup_ls import container_of, found, told
from .backup_settings import BACKUPS
from .copies import named
from .job import JobFailed
from .tree_restore import entries

_ADDED, _REMOVED, _CHANGED, _TOUCHED = "+", "-", "~", "."
_MEANINGS = "+ added, - removed, ~ other content, . only owner, mode, time or attributes"


def changes(one: Path, other: Path, name: str) -> Iterator[tuple[str, str, Entry | None, Entry | None]]:
    """What differs in a container: how, its path, and both entries. Raises JobFailed."""
    try:
        with ExitStack() as stack:
            sides = [
                stack.enter_context(entries(place / name)) if (place / name).is_dir() else iter(())
                for place in (one, other)
            ]
            for before, after in catalog.merged(*sides):
                if before is None:
                    yield _ADDED, after.path if after else "", before, after
                elif after is None:
                    yield _REMOVED, before.path, before, after
                elif before != after:
                    same = _content(before) == _content(after)
                    yield _TOUCHED if same else _CHANGED, before.path, before, after
    except (CatalogError, OSError) as error:
        raise JobFailed(f"the catalogs of {name}: {error}; see 'dualjoe backup verify'") from error


def _content(entry: Entry) -> tuple[Any, ...]:
    return entry.type, entry.size, entry.sha256, entry.target, entry.link, entry.device


def _former(place: Path) -> Path:
    """The snapshot before this one. Raises JobFailed."""
    there = [path for path in named(place.parent) if path.name < place.name and not snapshots.is_old(path)]
    if not there:
        raise JobFailed(f"there is no snapshot before {place.name}")
    return there[-1]


def main(argv: Sequence[str] | None = None, backups: Path = BACKUPS) -> int:
    """Print them."""
    parser = argparse.ArgumentParser(
        prog="dualjoe backup diff",
        description=f"What has changed from snapshot A to B: {_MEANINGS}.",
        epilog="Each of A and B is a snapshot: " + snapshots.NAMES + ".",
    )
    parser.add_argument("a", metavar="A", help="the older one; alone, what has changed from the one before it")
    parser.add_argument("b", nargs="?", metavar="B", help="the newer one")
    parser.add_argument("container", nargs="?", metavar="CONTAINER", help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each change")
    arguments = parser.parse_args(argv)
    other = found(backups, arguments.b or arguments.a)
    one = found(backups, arguments.a) if arguments.b else _former(other)
    if arguments.container:
        names = [container_of(other, arguments.container).name]
    else:
        try:
            names = sorted({*snapshots.load(one).containers, *snapshots.load(other).containers})
        except SnapshotError as error:
            raise JobFailed(str(error)) from error
    for name in names:
        for how, path, before, after in changes(one, other, name):
            if arguments.json:
                sides = {"before": before and told(before), "after": after and told(after)}
                print(json.dumps({"change": how, "container": name, "path": path, **sides}))
            else:
                print(f"{how} {name}/{shown(path)}")
    return 0
