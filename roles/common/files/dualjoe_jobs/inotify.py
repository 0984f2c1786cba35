"""Be told by the kernel when something in a folder changes (inotify(7)). Linux only, standard library only."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time

from .job import JobFailed
from .memory_sets import MemorySet

_MODIFY, _ATTRIB, _MOVED, _CREATE, _DELETE = 0x2, 0x4, 0xC0, 0x100, 0x200
_ONLYDIR, _DONT_FOLLOW, _ISDIR, _OVERFLOW, _IGNORED = 0x1000000, 0x2000000, 0x40000000, 0x4000, 0x8000
# Not who opens and closes: to copy a database is to open it for writing, and is no change.
_WANTED = _MODIFY | _ATTRIB | _MOVED | _CREATE | _DELETE | _ONLYDIR | _DONT_FOLLOW
_HEADER = struct.Struct("iIII")
_READ_BYTES = 1 << 16


class Watch:
    """Watches all folders of some sets in which a chosen file may lie."""

    def __init__(self, sets: list[MemorySet]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise JobFailed(f"inotify: {os.strerror(ctypes.get_errno())}; see fs.inotify.max_user_instances")
        self._sets = sets
        self._watched: dict[int, tuple[MemorySet, str]] = {}
        self._missing: list[MemorySet] = []
        self._watch_all(sets)

    def close(self) -> None:
        """End it."""
        os.close(self._descriptor)

    def _watch_all(self, sets: list[MemorySet]) -> None:
        self._missing = [each for each in sets if not each.path.is_dir()]
        for each in sets:
            self._add(each, "")

    def _add(self, each: MemorySet, folder: str) -> None:
        """Watch a folder that may be there, and those below it."""
        # The set's own folder may be a link, as for a workspace on another disk.
        place = each.path / folder if folder else each.path.resolve()
        number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(place), _WANTED)
        if number < 0:
            code = ctypes.get_errno()
            if not os.path.lexists(place) or place.is_symlink():
                return
            raise JobFailed(f"{place}: {os.strerror(code)}; see fs.inotify.max_user_watches")
        self._watched[number] = (each, folder)
        try:
            with os.scandir(place) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:  # it went away meanwhile
            return
        for name in below:
            path = f"{folder}/{name}" if folder else name
            if each.selection.enters(path):
                self._add(each, path)

    def _changed(self) -> bool:
        """Read what the kernel has to say: whether it concerns a chosen file. New folders are watched as well."""
        try:
            told = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        changed, at = False, 0
        while at < len(told):
            number, mask, _, length = _HEADER.unpack_from(told, at)
            at += _HEADER.size
            name = os.fsdecode(told[at : at + length].rstrip(b"\0"))
            at += length
            if mask & _OVERFLOW:  # some were not told: anything may have changed
                changed = True
                self._watch_all(self._sets)
            elif mask & _IGNORED:
                self._watched.pop(number, None)
            elif number in self._watched and name:
                each, folder = self._watched[number]
                path = f"{folder}/{name}" if folder else name
                if mask & _ISDIR:
                    if each.selection.enters(path):
                        changed = True
                        if mask & (_CREATE | _MOVED):
                            self._add(each, path)
                else:
                    changed = changed or each.selection.takes(path)
        return changed

    def wait(self, seconds: float, quiet_seconds: float, most_seconds: float) -> bool:
        """Wait at most ``seconds`` for a change, then until nothing has changed for ``quiet_seconds``, but no longer
        than ``most_seconds``. Whether there was one."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        deadline = time.monotonic() + seconds
        while not self._changed():
            left = deadline - time.monotonic()
            if left <= 0:
                appeared = any(each.path.is_dir() for each in self._missing)
                if appeared:
                    self._watch_all(self._sets)
                return appeared
            poller.poll(left * 1000)
        deadline = time.monotonic() + most_seconds
        quiet = time.monotonic() + quiet_seconds
        while (now := time.monotonic()) < min(quiet, deadline):
            poller.poll((min(quiet, deadline) - now) * 1000)
            if self._changed():
                quiet = time.monotonic() + quiet_seconds
        return True
