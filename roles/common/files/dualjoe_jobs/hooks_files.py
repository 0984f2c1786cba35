"""What is saved as files: SQLite databases by SQLite's online backup, folders by copying them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .container import Container, HookFailed, Place, Saved
from .sealed_sqlite import copy_all

FILES = "files"  # the folder of hook files, in what is saved


def save_sqlite(container: Container, saved: Saved) -> None:
    """SQLite databases through the online backup API: the one at ``path``, or all below it, known by their header.

    Parameters: path (in the container), minimum_tables (of each database), minimum_databases.
    """
    container.check_time()
    inside = PurePosixPath(container.text("path"))
    place = container.on_host(str(inside))
    is_one, copied = copy_all(place, inside.name, saved.folder, container.seconds_left)
    container.at_least("minimum_databases", len(copied), "SQLite databases")
    for copy in copied:
        container.at_least("minimum_tables", copy.tables, f"tables in {PurePosixPath(copy.name).name}")
        saved.owned[copy.name] = copy
        saved.places[copy.name] = str(inside if is_one else inside / copy.name)


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
