"""What is saved as files: SQLite databases by SQLite's online backup, folders by copying them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .container import Container, HookFailed, Place, Saved, open_file
from .sealed_sqlite import copy_all

_COMPOSE_BYTES = 4 << 20
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
    HookFailed.

    They may lie in a folder that is bound into the container, whose programs put there what they like.
    """
    for path in paths:
        place = PurePosixPath(os.path.normpath(f"/{path}").lstrip("/"))
        try:
            content = _read(Place(Path("/"), place))
        except OSError as error:
            hint = "; links on the way to it are not followed" if error.errno == errno.ENOTDIR else ""
            raise HookFailed(f"{path}: {error.strerror}{hint}") from error
        if len(content) > _COMPOSE_BYTES:
            raise HookFailed(f"{path}: it is larger than {_COMPOSE_BYTES >> 20} MB, and so no compose file")
        copy = folder / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)


def _read(place: Place) -> bytes:
    """What a file has, or more than a compose file would. Raises OSError."""
    above, name = place.open_above()
    try:
        with os.fdopen(open_file(name, above), "rb") as file:
            return file.read(_COMPOSE_BYTES + 1)
    finally:
        os.close(above)
