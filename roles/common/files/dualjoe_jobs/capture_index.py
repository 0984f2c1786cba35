"""What the files of a memory were when they were last read, folder by folder, so that few of them are looked up.

The index is a line for the whole, then one for each folder: what the folder looked like, and after a tab its files.
A folder that looks as it did needs no look at its files' lines, which are most of the index.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from . import manifest
from .durable import write_bytes
from .manifest import Manifest, Sum

_VERSION = 2

Stamp = Sequence[int]
Files = dict[str, tuple[Optional[Stamp], bool]]  # name -> its stamp, None where it must be read again; is it a database


class Damaged(Exception):
    """The index makes no sense, or is not there; or the copy is not what it says."""


@dataclass(frozen=True)
class Folder:
    """The chosen files of one folder, as JSON. ``look``: a sum over all that was in the folder when every file's stamp
    was as it is here; empty where that is not known. ``left_out``: names of what is neither file nor folder."""

    look: str
    left_out: Sequence[str]
    listed: bytes

    @classmethod
    def of(cls, look: str, left_out: Sequence[str], files: Files) -> Folder:
        settled = all(stamp is not None for stamp, _ in files.values())
        return cls(look if settled else "", left_out, json.dumps(files).encode())

    @property
    def files(self) -> Files:
        """Raises Damaged."""
        try:
            return {name: (stamp, bool(database)) for name, (stamp, database) in json.loads(self.listed).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise Damaged(repr(error)) from error

    def without(self, name: str) -> Folder:
        """As it is, but this file must be read again."""
        files = self.files
        if name in files:
            files[name] = None, False
        return Folder.of("", self.left_out, files)


@dataclass(frozen=True)
class Seen:
    """A file as it was read. Without a ``stamp`` it must be read again."""

    stamp: Stamp | None
    database: bool
    sum: Sum
    mode: int


@dataclass(frozen=True)
class Index:
    """``folders``: by their path in the copy, with a slash at the end. ``content``: of the copy, with so many files and
    bytes. ``choice``: what the sets choose. ``made``: what an index of the first version tells of the sums."""

    choice: str
    content: str = ""
    count: int = 0
    bytes: int = 0
    folders: Mapping[str, Folder] = field(default_factory=dict)
    made: Manifest | None = None

    def paths(self, folder: str) -> Iterator[str]:
        """Of the files in one of its folders."""
        return (folder + name for name in self.folders[folder].files)

    def has(self, name: str) -> bool:
        """Whether there is something of the set of this name."""
        return any(folder.startswith(f"{name}/") for folder in self.folders)

    def without(self, paths: Collection[str]) -> Index:
        """As it is, but these files must be read again."""
        folders = dict(self.folders)
        for path in paths:
            folder, name = _parts(path)
            if folder in folders:
                folders[folder] = folders[folder].without(name)
        return replace(self, folders=folders)

    def store(self, path: Path) -> None:
        """Write it down, as a whole or not at all."""
        told = {"choice": self.choice, "content": self.content, "files": self.count, "bytes": self.bytes}
        lines = [json.dumps({"version": _VERSION, **told}).encode()]
        for name, each in self.folders.items():
            lines.append(json.dumps([name, each.look, each.left_out]).encode() + b"\t" + each.listed)
        write_bytes(path, b"\n".join([*lines, b""]))


def load(path: Path, choice: str) -> Index:
    """Read it. Where the sets chose otherwise, no folder's look counts. Raises Damaged."""
    try:
        head, _, rest = path.read_bytes().partition(b"\n")
        raw: Mapping[str, Any] = json.loads(head)
        return {1: _first_version, _VERSION: _this_version}[raw["version"]](raw, rest, choice)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(repr(error)) from error


def _this_version(raw: Mapping[str, Any], rest: bytes, choice: str) -> Index:
    folders = {}
    for line in rest.split(b"\n")[:-1]:
        told, _, listed = line.partition(b"\t")
        name, look, left_out = json.loads(told)
        folders[str(name)] = Folder(str(look) if raw["choice"] == choice else "", left_out, listed)
    return Index(choice, str(raw["content"]), int(raw["files"]), int(raw["bytes"]), folders)


def _first_version(raw: Mapping[str, Any], _rest: bytes, choice: str) -> Index:
    """It had the sums as well, file by file; and no content where the manifest was not written."""
    listed: dict[str, Files] = {}
    sums, modes = {}, {}
    for path, (stamp, database, size, sha, mode) in raw["files"].items():
        folder, slash, name = path.rpartition("/")
        listed.setdefault(folder + slash, {})[name] = (stamp, bool(database))
        sums[path] = (int(size), str(sha))
        if mode != Manifest.OWN_MODE:
            modes[path] = int(mode)
    folders = {name: Folder.of("", (), files) for name, files in listed.items()}
    made = Manifest("", sums, modes=modes)
    return Index(choice, str(raw["content"]), len(sums), made.bytes, folders, made)


def _parts(path: str) -> tuple[str, str]:
    """A path in the copy: its folder, as the index names it, and its name there."""
    folder, slash, name = path.rpartition("/")
    return folder + slash, name


def load_made(tree: Path, content: str) -> Manifest:
    """The manifest of a copy with this content; empty where that is not known. Raises Damaged."""
    try:
        made = manifest.load(tree)
    except manifest.ManifestError as error:
        raise Damaged(str(error)) from error
    if content and made.content != content:
        raise Damaged(f"{manifest.NAME} is not what the index says")
    return made


def renewed(made: Manifest, read: Mapping[str, Seen | None]) -> Manifest:
    """The manifest with files as they were read; None: they are gone."""
    sums, modes = dict(made.sums), dict(made.modes)
    for name, one in read.items():
        sums.pop(name, None)
        modes.pop(name, None)
        if one:
            sums[name] = one.sum
            if one.mode != Manifest.OWN_MODE:
                modes[name] = one.mode
    return replace(made, sums=sums, modes=modes)


def noted(
    folders: Mapping[str, Folder], looks: Mapping[str, str], read: Mapping[str, Seen | None]
) -> dict[str, Folder]:
    """The folders with files as they were read. ``looks``: as they were before that, if it is known: what was written
    to meanwhile looks otherwise the next time."""
    by_folder: dict[str, dict[str, Seen | None]] = {}
    for path, one in read.items():
        folder, name = _parts(path)
        by_folder.setdefault(folder, {})[name] = one
    noted = dict(folders)
    for folder, names in by_folder.items():
        was = noted.pop(folder, Folder("", (), b"{}"))
        files = was.files
        for name, seen in names.items():
            files.pop(name, None)
            if seen:
                files[name] = seen.stamp, seen.database
        if files or was.left_out:
            noted[folder] = Folder.of(looks.get(folder, ""), was.left_out, files)
    return noted
