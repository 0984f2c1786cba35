"""The list of what a tree holds, with a SHA-256 sum per file: made at the source, checked by whoever has a copy."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

NAME = "manifest.json"
NOTE = "meta.json"  # what the puller notes beside it; not of the tree either
_VERSION = 1
_CHUNK_BYTES = 1 << 20

_quoted = json.JSONEncoder().encode
# A path with a part that is '', '.' or '..', or one of the files beside the tree's own.
_OUTSIDE = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\0|\A(?:manifest|meta)\.json\Z").search

Sum = tuple[int, str]  # a file's size in bytes, and its SHA-256


class ManifestError(Exception):
    """A tree is not what its manifest says; the message names the first differences."""


@dataclass(frozen=True)
class Manifest:
    """``captured_at`` is when capturing began (UTC, ISO 8601); ``sums`` maps each path to its size and SHA-256;
    ``origin`` is what the source says of itself; ``modes`` has the owner's permissions where they are not 0600."""

    captured_at: str
    sums: Mapping[str, Sum]
    origin: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)

    OWN_MODE: ClassVar[int] = 0o600

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(size for size, _ in self.sums.values())

    @cached_property
    def content(self) -> str:
        """One sum over all of it: trees with the same files have the same."""
        parts = [sorted(self.sums.items()), *([sorted(self.modes.items())] if self.modes else [])]
        return hashlib.sha256("".join(map(json.dumps, parts)).encode()).hexdigest()

    def mode(self, path: str) -> int:
        """The owner's permissions on a file."""
        return self.modes.get(path, self.OWN_MODE)

    def write(self, tree: Path) -> None:
        """Put the manifest into the tree it describes."""
        head = json.dumps({"version": _VERSION, "captured_at": self.captured_at, "origin": dict(self.origin)})
        lines = [
            f'{{"path": {_quoted(path)}, "size": {size}, "sha256": "{sha}"'
            + (f', "mode": {self.modes[path]}}}' if path in self.modes else "}")
            for path, (size, sha) in sorted(self.sums.items())
        ]
        new = tree / f".{NAME}.new"  # never written into: a copy of the tree may share this file
        new.write_text(f'{head[:-1]}, "files": [\n' + ",\n".join(lines) + "\n]}\n", "ascii")
        new.replace(tree / NAME)


def measure(tree: Path, captured_at: str, origin: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest of what is in ``tree`` now. Raises ManifestError for anything but folders and regular files."""
    return Manifest(captured_at, {path: sum_of(tree / path) for path in files(tree)}, origin or {})


def load(tree: Path) -> Manifest:
    """Read the manifest in ``tree``. Raises ManifestError when it is missing or makes no sense."""
    try:
        return parse((tree / NAME).read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(f"{NAME} is missing") from error
    except OSError as error:
        raise ManifestError(f"{NAME}: {error.strerror}") from error


def parse(text: bytes) -> Manifest:
    """A manifest from its file's text. Raises ManifestError when it makes no sense."""
    try:
        content = json.loads(text)
        if content["version"] != _VERSION:
            raise ManifestError(f"{NAME}: version {content['version']} is not {_VERSION}")
        sums = {str(item["path"]): (int(item["size"]), str(item["sha256"])) for item in content["files"]}
        modes = {str(item["path"]): int(item["mode"]) & 0o700 for item in content["files"] if "mode" in item}
        if bad := next(filter(_OUTSIDE, sums), None):
            raise ManifestError(f"{NAME}: {bad!r} leads out of the tree")
        return Manifest(str(content["captured_at"]), sums, dict(content.get("origin", {})), modes)
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{NAME} makes no sense: {error!r}") from error


def verify(tree: Path) -> Manifest:
    """Check every file of ``tree`` against its manifest: none missing, added or changed. Raises ManifestError."""
    wanted = load(tree)
    check(tree, wanted, wanted.sums)
    return wanted


def check(tree: Path, wanted: Manifest, changed: Collection[str]) -> None:
    """Check that ``tree`` has the files of ``wanted``, those ``changed`` as it says. Raises ManifestError."""
    if wrong := differences(tree, wanted, changed):
        raise ManifestError(in_short(wrong))


def differences(tree: Path, wanted: Manifest, changed: Collection[str]) -> dict[str, str]:
    """What ``check`` would complain of: path -> how it differs. Raises ManifestError where there is nothing at all, or
    something that is neither file nor folder."""
    if not wanted.sums:
        raise ManifestError("the tree is empty")
    there = set(files(tree))
    return {
        **dict.fromkeys(sorted(wanted.sums.keys() - there), "is missing"),
        **dict.fromkeys(sorted(there - wanted.sums.keys()), "does not belong"),
        **{path: "differs" for path in sorted(there & set(changed)) if sum_of(tree / path) != wanted.sums[path]},
    }


def in_short(wrong: Mapping[str, str]) -> str:
    """The first of some differences, in one line."""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(f"{path} {how}" for path, how in list(wrong.items())[:3]) + more


def files(tree: Path) -> Iterator[str]:
    """The paths of what is in a tree, but for the manifest and the note. Raises ManifestError for anything but folders
    and regular files."""
    return _files(os.fspath(tree), "")


def _files(folder: str, above: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, path + "/")
            elif not entry.is_file(follow_symlinks=False):
                raise ManifestError(f"{path} is neither file nor folder")
            elif path not in (NAME, NOTE):
                yield path


def sum_of_bytes(content: bytes) -> Sum:
    """The size and SHA-256 of a file with this content."""
    return len(content), hashlib.sha256(content).hexdigest()


def sum_of(path: Path) -> Sum:
    """The size and SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
