"""Copy SQLite databases out of a container's volume, in a process that can reach nothing else.

What SQLite opens it also believes: a journal that a container's programs have put beside a database names a file that
SQLite then removes, wherever it is; and between looking at a name and opening it, it may have become a link or a
device. So as root this program shuts itself in with the volume and the place for the copies, before it looks at
anything.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dualjoe import databases

from .container import HookFailed, Place, run_program
from .job import JobFailed
from .room import check_reserve
from .sqlite_copy import copy_sqlite

_LIBRARIES = tuple(str(Path(module).resolve().parents[1]) for module in (__file__, str(databases.__file__)))
_PROGRAM = "import sys; sys.path[:0] = sys.argv[1:3]; from dualjoe_jobs.sealed_sqlite import main; main(sys.argv[3])"
_GRACE_SECONDS = 5.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Linux: sched.h, sys/mount.h, sys/prctl.h
_NEW_MOUNTS = 0x20000
_NO_SETUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT, _BIND, _ALL_BELOW, _PRIVATE = 2, 4, 8, 32, 4096, 16384, 1 << 18
_DIE_WITH_PARENT = 1
_SOURCE, _COPIES = "source", "copies"


class Copied(NamedTuple):
    """A copy: its path below the folder of copies, its tables, and what the original was."""

    name: str
    tables: int
    st_mode: int
    st_uid: int
    st_gid: int
    st_mtime_ns: int


def copy_all(place: Place, name: str, target: Path, seconds: float) -> tuple[bool, list[Copied]]:
    """Copy the database at ``place`` to ``name`` in ``target``, or all those below it to their paths. Returns whether
    it is one, and the copies. Raises HookFailed."""
    root, inside = (place.root, place.inside) if place.root.is_dir() else (place.root.parent, Path(place.root.name))
    told = json.dumps([str(root), str(inside), name, str(target), seconds])
    answer = json.loads(
        run_program([sys.executable, "-I", "-B", "-c", _PROGRAM, *_LIBRARIES, told], None, seconds + _GRACE_SECONDS)
    )
    if "error" in answer:
        raise HookFailed(str(answer["error"]))
    return bool(answer["is_one"]), [Copied(*each) for each in answer["copied"]]


def main(told: str) -> None:
    """The program: one line of JSON, with what was copied, or why nothing was."""
    root, inside, name, target, seconds = json.loads(told)
    deadline = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() >= deadline:
            raise HookFailed("the hook's time is up")
        check_reserve(copies)

    source, copies = Path(root), Path(target)
    try:
        if os.geteuid() == 0:  # anybody else can do no more than the container's programs themselves, or less
            source, copies = _shut_in(source, copies)
        answer = _copy(source / inside, name, copies, check)
    except (HookFailed, JobFailed, OSError, RuntimeError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)


def _copy(place: Path, name: str, copies: Path, check_time: Callable[[], object]) -> dict[str, Any]:
    is_one = place.is_file()
    found = [place] if is_one else sorted(path for path in place.rglob("*") if databases.is_database(path))
    copied = []
    for source in found:
        called = name if is_one else str(source.relative_to(place))
        copy = copies / called
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy_sqlite(source, copy, check_time)
            tables = databases.check(copy, thorough=True)
        except sqlite3.Error as error:
            raise HookFailed(f"{source.name}: {error}") from error
        status = source.stat()
        copied.append(Copied(called, tables, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns))
    return {"is_one": is_one, "copied": copied}


def _shut_in(source: Path, copies: Path) -> tuple[Path, Path]:
    """Have nothing but these two folders from here on. Returns where they are then. Raises OSError."""
    _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    _call("unshare", _NEW_MOUNTS)
    _mount("none", "/", "", _ALL_BELOW | _PRIVATE)
    folders = {_SOURCE: os.open(source, _FOLDER), _COPIES: os.open(copies, _FOLDER)}
    safe = _NO_SETUID | _NO_DEVICES | _NO_PROGRAMS
    _mount("none", str(copies), "tmpfs", safe)
    for name, folder in folders.items():
        place = str(copies / name)
        os.mkdir(place, 0o700)
        _mount(f"/proc/self/fd/{folder}", place, "", _BIND)
        _mount("none", place, "", _BIND | _REMOUNT | safe)
        os.close(folder)
    os.chroot(copies)
    os.chdir("/")
    return Path("/", _SOURCE), Path("/", _COPIES)


def _mount(what: str, where: str, kind: str, flags: int) -> None:
    _call("mount", what.encode(), os.fsencode(where), kind.encode(), ctypes.c_ulong(flags), None)


def _call(function: str, *arguments: Any) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"this process cannot be shut in ({function}: {os.strerror(number)})")
