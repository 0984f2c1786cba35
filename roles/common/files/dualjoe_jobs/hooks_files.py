"""What is saved as files: SQLite databases by SQLite's online backup, folders by copying them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dualjoe import databases

from .container import Container, HookFailed, Place, Saved
from .sqlite_copy import copy_sqlite

FILES = "files"  # the folder of hook files, in what is saved


def save_sqlite(container: Container, saved: Saved) -> None:
    """SQLite databases through the online backup API: the one at ``path``, or all below it, known by their header.

    Parameters: path (in the container), minimum_tables (of each database), minimum_databases.
    """
    inside = PurePosixPath(container.text("path"))
    place = container.on_host(str(inside)).path
    is_one = place.is_file()
    found = [place] if is_one else sorted(path for path in place.rglob("*") if databases.is_database(path))
    container.at_least("minimum_databases", len(found), "SQLite databases")
    for source in found:
        name = inside.name if is_one else str(source.relative_to(place))
        copy = saved.folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy_sqlite(source, copy, container.check_time)
            tables = databases.check(copy, thorough=True)
        except sqlite3.Error as error:
            raise HookFailed(f"{source.name}: {error}") from error
        container.at_least("minimum_tables", tables, f"tables in {source.name}")
        saved.owned[name] = source.stat()
        saved.places[name] = str(inside if is_one else inside / name)


def folders(container: Container) -> dict[str, tuple[Place, str]]:
    """What the entry keeps as folders: by path in what is saved, where it is, and its path in the container.

    Parameters: path (of hook files), volumes (by name), binds (by path on this machine). Raises HookFailed.
    """
    found: dict[str, tuple[Place, str]] = {}
    if container.text("hook") == FILES:
        path = container.text("path")
        place = container.on_host(path)
        if not place.path.is_dir():
            raise HookFailed(f"{path} is no folder")
        found[FILES] = (place, path)
    for name in container.words("volumes"):
        found[f"volumes/{name}"] = container.volume(name)
    for path in container.words("binds"):
        found[f"binds{os.path.normpath(path)}"] = container.bind(path)
    for path in found:
        if nested := [other for other in found if other.startswith(f"{path}/")]:
            raise HookFailed(f"{nested[0]} is kept with {path} already; name only one of them")
    return found


def exclusions(patterns: Iterable[str]) -> list[str]:
    """Patterns of what not to copy, which fit at any depth unless they begin with a slash, as a Selection's."""
    return [pattern if pattern.startswith(("/", "**/")) else f"**/{pattern}" for pattern in patterns]


def keep_compose(paths: Iterable[str], folder: Path) -> None:
    """Copy this machine's files that a container is made from, each to its own path below ``folder``. Raises
    HookFailed."""
    for path in paths:
        copy = folder / os.path.normpath(path).lstrip("/")
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise HookFailed(f"{path}: {error.strerror}") from error
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
