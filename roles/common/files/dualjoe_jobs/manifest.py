"""The list of what a tree holds, with a SHA-256 sum per file: made at the source, checked by whoever has a copy."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "manifest.json"
NOTE = "meta.json"  # what the puller notes beside it; not of the tree either
_VERSION = 1
_CHUNK_BYTES = 1 << 20


class ManifestError(Exception):
    """A tree is not what its manifest says; the message names the first differences."""


@dataclass(frozen=True)
class Manifest:
    """``captured_at`` is when capturing began (UTC, ISO 8601); ``sums`` maps each path to its size and SHA-256;
    ``origin`` is what the source says of itself."""

    captured_at: str
    sums: dict[str, tuple[int, str]]
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(size for size, _ in self.sums.values())

    @property
    def content(self) -> str:
        """One sum over all of it: trees with the same files have the same."""
        return hashlib.sha256(json.dumps(sorted(self.sums.items())).encode()).hexdigest()

    def write(self, tree: Path) -> None:
        """Put the manifest into the tree it describes."""
        files = [{"path": path, "size": size, "sha256": sha} for path, (size, sha) in sorted(self.sums.items())]
        content = {"version": _VERSION, "captured_at": self.captured_at, "origin": dict(self.origin), "files": files}
        (tree / NAME).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def measure(tree: Path, captured_at: str, origin: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest of what is in ``tree`` now. Raises ManifestError for anything but folders and regular files."""
    return Manifest(captured_at, {path: _sum(tree / path) for path in _files(tree)}, origin or {})


def load(tree: Path) -> Manifest:
    """Read the manifest in ``tree``. Raises ManifestError when it is missing or makes no sense."""
    try:
        content = json.loads((tree / NAME).read_text("utf-8"))
        if content["version"] != _VERSION:
            raise ManifestError(f"{NAME}: version {content['version']} is not {_VERSION}")
        sums = {str(item["path"]): (int(item["size"]), str(item["sha256"])) for item in content["files"]}
        return Manifest(str(content["captured_at"]), sums, dict(content.get("origin", {})))
    except FileNotFoundError as error:
        raise ManifestError(f"{NAME} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{NAME} makes no sense: {error!r}") from error


def verify(tree: Path) -> Manifest:
    """Check every file of ``tree`` against its manifest: none missing, added or changed. Raises ManifestError."""
    wanted = load(tree)
    found = measure(tree, wanted.captured_at)
    differences = [
        *(f"{path} is missing" for path in sorted(wanted.sums.keys() - found.sums.keys())),
        *(f"{path} does not belong" for path in sorted(found.sums.keys() - wanted.sums.keys())),
        *(f"{path} differs" for path, sums in sorted(wanted.sums.items()) if found.sums.get(path, sums) != sums),
    ]
    if not wanted.sums:
        raise ManifestError("the tree is empty")
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ManifestError("; ".join(differences[:3]) + more)
    return wanted


def _files(tree: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            relative = str(path.relative_to(tree))
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise ManifestError(f"{relative} is neither file nor folder")
            if stat.S_ISREG(mode) and relative not in (NAME, NOTE):
                yield relative


def _sum(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
