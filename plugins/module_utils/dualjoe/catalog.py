"""The list of a container's tree in a backup: one JSON line for each entry, read and written one at a time.

Entries are in the order of their paths' bytes, where the slash counts as the lowest: a folder is followed by what is in
it. Whoever has two catalogs can so walk both side by side, and nobody needs to hold a whole one. Paths and targets are
text as ``os.fsdecode`` makes it; bytes that are no UTF-8 survive.

A catalog comes from a machine that may be in the wrong hands: reading refuses whatever could lead out of the tree, or
through a link in it. Pure, but for the file that it is given.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

KINDS = ("file", "directory", "symlink", "fifo", "socket", "character", "block")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BAD_PART = re.compile(rb"(?:\A|\0)\.{0,2}(?:\0|\Z)")  # '', '.' and '..', with the slashes as in a key
_LINE_BYTES = 1 << 20
_MOST = 1 << 63
_encode = json.JSONEncoder(separators=(",", ":")).encode


class CatalogError(Exception):
    """A catalog makes no sense, or must not be followed; the message says where."""


class Entry(NamedTuple):
    """What is at ``path``, relative to the tree. ``type``: one of KINDS; ``mode``: the permission bits.

    A file has ``size`` and ``sha256``, and ``sparse`` where it has holes; the further names of a hard-linked one have
    instead in ``link`` the first of them by the order. ``target`` is a symlink's; ``device`` is (major, minor);
    ``xattrs`` are in base64.
    """

    path: str
    type: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    link: str = ""
    xattrs: Mapping[str, str] = _NOTHING
    sparse: bool = False
    device: tuple[int, int] | None = None

    @property
    def has_data(self) -> bool:
        """Whether a backup holds bytes of its own for it: a file, under its first name."""
        return self.type == "file" and not self.link


def order(path: str) -> bytes:
    """The key by which the entries of a catalog are sorted. Raises ValueError for what can be no path."""
    return os.fsencode(path).replace(b"/", b"\0")


def read(file: BinaryIO) -> Iterator[Entry]:
    """The entries of the catalog that ``file`` is open on, one at a time. Raises CatalogError, OSError."""
    return _sound(_lines(file))


def write(file: BinaryIO, entries: Iterable[Entry]) -> None:
    """Write a catalog. Raises CatalogError for what ``read`` would refuse, OSError."""
    for entry in _sound(entries):
        file.write(line(entry))


def line(entry: Entry) -> bytes:
    """The line of an entry that makes sense, with its end. Raises CatalogError when it is too long."""
    told = {name: value for name, value in zip(Entry._fields, entry) if value}
    made = _encode({**told, "xattrs": dict(entry.xattrs)} if entry.xattrs else told).encode("ascii")
    if len(made) >= _LINE_BYTES:
        raise CatalogError(f"{entry.path!r}: its extended attributes are too long")
    return made + b"\n"


def _lines(file: BinaryIO) -> Iterator[Entry]:
    number = 0
    while text := file.readline(_LINE_BYTES + 1):
        number += 1
        if text[-1:] != b"\n":
            raise CatalogError(f"line {number} is cut off, or too long")
        try:
            raw: dict[str, Any] = json.loads(text)
            if "device" in raw:
                raw["device"] = tuple(raw["device"])
            entry = Entry(**raw)
        except (ValueError, TypeError, RecursionError) as error:
            raise CatalogError(f"line {number}: {error}") from error
        yield entry


def _sound(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries, each checked by itself and against the one before. Raises CatalogError."""
    before, leaf = b"", b"\0"  # the last path, and how what lay below it would begin if it were no folder
    for entry in entries:
        try:
            key = _checked(entry)
        except (ValueError, TypeError, AttributeError) as error:
            raise CatalogError(f"{entry.path!r}: {error}") from error
        if key <= before:
            raise CatalogError(f"{entry.path!r} is twice there, or out of order")
        if key.startswith(leaf):
            raise CatalogError(f"{entry.path!r} lies below what is no folder")
        before, leaf = key, key + b"\0" if entry.type != "directory" else b"\0"
        yield entry


def _checked(entry: Entry) -> bytes:
    """The entry's key. Raises ValueError, TypeError or AttributeError when it makes no sense."""
    key = _key(entry.path)
    numbers = (entry.mode, entry.uid, entry.gid, entry.size, abs(entry.mtime_ns))
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) >= _MOST or entry.mode > 0o7777:
        raise ValueError("a number makes no sense")
    if entry.type not in KINDS:
        raise ValueError("it is of no known type")
    is_file, is_device = entry.type == "file", entry.type in ("character", "block")
    if is_file != bool(entry.sha256 or entry.link) or (entry.link and (entry.sha256 or entry.size)):
        raise ValueError("a file has a sum, or is a link to another one, and nothing else is either")
    if entry.sha256 and not _SHA256.fullmatch(entry.sha256):
        raise ValueError("sha256 is no such sum")
    if entry.link and _key(entry.link) >= key:
        raise ValueError("it is a link to what comes later")
    if (entry.type == "symlink") != bool(entry.target) or "\0" in entry.target:
        raise ValueError("a symlink has a target, and nothing else has")
    order(entry.target)
    if is_device != bool(entry.device) or (entry.device and not _is_device(entry.device)):
        raise ValueError("a device has two numbers, and nothing else has")
    if type(entry.sparse) is not bool or (entry.size and not is_file):
        raise ValueError("only a file has a size, and may be sparse")
    if entry.xattrs and not all(
        name and "\0" not in name and _BASE64.fullmatch(entry.xattrs[name]) for name in entry.xattrs
    ):
        raise ValueError("an extended attribute makes no sense")
    return key


def _key(path: str) -> bytes:
    key = order(path)
    if "\0" in path or _BAD_PART.search(key):
        raise ValueError("it is no path within the tree")
    return key


def _is_device(numbers: tuple[int, ...]) -> bool:
    return len(numbers) == 2 and all(type(number) is int and 0 <= number < 1 << 32 for number in numbers)


def within(entries: Iterable[Entry], path: str) -> Iterator[Entry]:
    """Of a catalog's entries those at ``path`` and below; all for ''. Raises ValueError for what can be no path."""
    key = order(path)
    for entry in entries:
        found = order(entry.path)
        if not path or found == key or found.startswith(key + b"\0"):
            yield entry
        elif found > key:
            return


def merged(one: Iterable[Entry], other: Iterable[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """The entries of two catalogs side by side: of each path the one, the other, or both."""
    left, right = iter(one), iter(other)
    first, second = next(left, None), next(right, None)
    while first or second:
        if first and second and first.path == second.path:
            yield first, second
            first, second = next(left, None), next(right, None)
        elif second is None or (first and order(first.path) < order(second.path)):
            yield first, None
            first = next(left, None)
        else:
            yield None, second
            second = next(right, None)
