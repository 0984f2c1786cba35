"""The append-only files beside a Redis server's RDB file.

A server that keeps them reads nothing else at its start: with an RDB file alone it would begin empty. So a restore
writes them anew, with the RDB file as their base, which Redis makes in the same form itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .restore_files import own

_MAGIC = b"REDIS"
_MANIFEST = ".manifest"


def is_rdb(path: Path) -> bool:
    """Whether a file begins as an RDB file does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def beside(rdb: Path) -> list[Path]:
    """The folders of append-only files (Redis 7) in the folder of an RDB file, and the single files (before)."""
    found = rdb.parent.iterdir() if rdb.parent.is_dir() else ()
    return sorted(path for path in found if _manifests(path) or (path.suffix == ".aof" and path.is_file()))


def write(new: Path, like: Path, rdb: Path) -> None:
    """Make append-only files at ``new`` with the data of ``rdb``, named and owned as those at ``like``."""
    if like.is_file():
        shutil.copyfile(rdb, new)
        own(new, like)
        return
    new.mkdir()
    for manifest in _manifests(like):
        name = manifest.name[: -len(_MANIFEST)]
        base = new / f"{name}.1.base.rdb"
        shutil.copyfile(rdb, base)
        (new / manifest.name).write_text(f"file {base.name} seq 1 type b\n", "ascii")
        for file in (base, new / manifest.name):
            own(file, manifest)
    own(new, like)


def _manifests(folder: Path) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted(path for path in folder.glob(f"*{_MANIFEST}") if path.is_file())
