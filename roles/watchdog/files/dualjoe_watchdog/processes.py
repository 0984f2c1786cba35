"""The processes that descend from this one, and their end."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """Become the parent of whatever a descendant leaves behind, also from a session of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: orphans cannot be adopted")


def children() -> list[int]:
    """The processes that this one started or adopted, and that still run."""
    return [pid for pid, parent in _running().items() if parent == os.getpid()]


def descendants() -> list[int]:
    """All that descend from this one and still run."""
    running = _running()
    found = [os.getpid()]
    for parent in found:
        found += [pid for pid, of in running.items() if of == parent]
    return found[1:]


def kill_descendants() -> None:
    """Kill all that there are at this moment."""
    for pid in descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone, or another user's
            continue


def end_descendants(limit_seconds: float) -> list[int]:
    """Kill them all, and what they start meanwhile. Those that are left after the limit, which the kernel holds."""
    deadline = time.monotonic() + limit_seconds
    while (left := descendants()) and time.monotonic() < deadline:
        kill_descendants()
        _reap()
        time.sleep(0.05)
    return left


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _running() -> dict[int, int]:
    """Each process that is not yet dead -> its parent."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if state not in "ZX":
            found[int(entry.parent.name)] = int(parent)
    return found
