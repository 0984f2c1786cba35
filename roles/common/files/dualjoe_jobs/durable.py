"""What must be on the disk for certain before anybody relies on it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Mapping[str, Any], mode: int = 0o640) -> None:
    """Replace a file, as a whole or not at all."""
    write_bytes(path, json.dumps(content).encode() + b"\n", mode)  # json.dump would encode in Python, not in C


def write_bytes(path: Path, content: bytes, mode: int = 0o640) -> None:
    """As write_json."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.replace(path)
    sync_folder(path.parent)


def sync_tree(tree: Path) -> None:
    """Have all of ``tree`` on the disk before it gets its name. Raises OSError.

    By one call for its whole file system: one for each of many files would take minutes.
    """
    done = subprocess.run(
        ["sync", "--file-system", str(tree)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        raise OSError(errno.EIO, done.stderr.decode("utf-8", "replace").strip(), str(tree))


def sync_folder(folder: Path) -> None:
    """Have the folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
