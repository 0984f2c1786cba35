"""One container's part of the export: its data, and the catalog of them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from dualjoe import catalog
from dualjoe.catalog import Entry

from . import manifest
from .backup_hooks import HOOKS
from .container import Container, HookFailed, Saved, Status
from .folder_copy import FolderCopy, catalog_lines
from .hooks_files import exclusions, folders, keep_compose
from .manifest import Sum
from .quiesce import quiesced
from .room import check_reserve

CATALOG, DATA = "catalog.jsonl", "data"
_MODE = 0o640


@dataclass
class Part:
    """A part that is being made in ``folder``; ``previous`` is the same part of the last export, ``known`` that one's
    index (neither needs to be there), ``index`` where the new index goes. ``notes``: see quiesce.py."""

    folder: Path
    previous: Path
    known: Path
    index: Path
    notes: Path
    files: int = 0
    total_bytes: int = 0

    dumped: int = 0  # bytes: what is written anew each time

    @property
    def data(self) -> Path:
        return self.folder / DATA

    def _check_room(self) -> None:
        check_reserve(self.folder)

    def save(self, container: Container, images: Mapping[str, str]) -> dict[str, Any]:
        """Save everything that the container's entry keeps. Returns what snapshot.json says of it.

        ``images``: where archives of images are, by name. Raises HookFailed, OSError, ValueError.
        """
        saved = Saved(self.data / "saved")
        saved.folder.mkdir(parents=True)
        facts = json.dumps(_facts(container, images), indent=1, sort_keys=True)
        (self.data / "container.json").write_text(facts + "\n", "utf-8")
        keep_compose(container.words("compose"), self.data / "compose")
        HOOKS[container.text("hook")](container, saved)
        copied, unsteady = self._copy_folders(container, saved)
        if saved.places:
            (saved.folder / "places.json").write_text(json.dumps(saved.places, indent=1) + "\n", "utf-8")
        size, sha = self._write_catalog(saved, copied)
        return {
            "hook": container.text("hook"),
            "files": self.files,
            "bytes": self.total_bytes,
            "catalog": [size, sha],
            "dumped": self.dumped,
            **({"unsteady": unsteady} if unsteady else {}),
        }

    def _copy_folders(self, container: Container, saved: Saved) -> tuple[dict[str, int], list[str]]:
        """Copy the entry's folders, while the container holds still. Returns how many entries each has, by its path
        below data, in their order; and what would not keep still."""
        found = folders(container)
        copied: dict[str, int] = {}
        with ExitStack() as stack:
            new = stack.enter_context(self.index.open("wb"))
            if not found:
                return {}, []
            known = stack.enter_context(self.known.open("rb")) if self.known.is_file() else ()
            exclude = exclusions(container.words("exclude"))
            copy = FolderCopy(self.data, self.previous / DATA, known, new, container.check_time, self._check_room)
            stack.enter_context(quiesced(container, self.notes))
            for path in sorted(found, key=catalog.order):
                place, inside = found[path]
                saved.places[path] = inside
                copied[f"saved/{path}"] = copy.copy(place, f"saved/{path}", exclude)
        container.at_least("minimum_files", copy.files, "files")
        self.files, self.total_bytes = copy.files, copy.total_bytes
        return copied, copy.unsteady

    def _write_catalog(self, saved: Saved, copied: Mapping[str, int]) -> Sum:
        """List what was copied as the index says, and all else as it is."""
        owned = {f"saved/{path}": status for path, status in saved.owned.items()}
        digest, size = hashlib.sha256(), 0
        with (self.folder / CATALOG).open("xb") as file, self.index.open("rb") as index:
            for line in self._lines("", copied, owned, index):
                digest.update(line)
                size += file.write(line)
        (self.folder / CATALOG).chmod(_MODE)
        return size, digest.hexdigest()

    def _lines(
        self, above: str, copied: Mapping[str, int], owned: Mapping[str, Status], index: BinaryIO
    ) -> Iterator[bytes]:
        for name in sorted(os.listdir(self.data / above), key=os.fsencode):
            path = above + name
            place = self.data / path
            if path in copied:
                yield from catalog_lines(islice(index, copied[path]))
            elif place.is_dir():
                yield catalog.line(Entry(path, "directory"))
                yield from self._lines(f"{path}/", copied, owned, index)
            else:
                place.chmod(_MODE)
                size, sha = manifest.sum_of(place)
                entry = Entry(path, "file", size=size, sha256=sha)
                yield catalog.line(_as(entry, owned[path]) if path in owned else entry)
                self.files += 1
                self.total_bytes += size
                self.dumped += size


def _as(entry: Entry, status: Status) -> Entry:
    mode = stat.S_IMODE(status.st_mode)
    return entry._replace(mode=mode, uid=status.st_uid, gid=status.st_gid, mtime_ns=status.st_mtime_ns)


def _facts(container: Container, images: Mapping[str, str]) -> dict[str, Any]:
    """What container.json says: enough to run the container again. Its environment may hold passwords."""
    facts = container.facts
    config, host = facts["Config"], facts["HostConfig"]
    try:
        digests = json.loads(container.docker("image", "inspect", "--format={{json .RepoDigests}}", facts["Image"]))
    except HookFailed:  # the image has been removed; the container has its own
        digests = []
    return {
        "version": 1,
        "name": container.name,
        "image": config["Image"],
        "image_id": facts["Image"],
        "repo_digests": digests,
        **({"archive": images[config["Image"]]} if config["Image"] in images else {}),
        "entrypoint": config.get("Entrypoint"),
        "command": config.get("Cmd"),
        "env": config.get("Env"),
        "user": config.get("User"),
        "working_dir": config.get("WorkingDir"),
        "labels": config.get("Labels") or {},
        "healthcheck": config.get("Healthcheck"),
        "mounts": [
            {
                "type": mount["Type"],
                "name": mount.get("Name", ""),
                "source": mount.get("Source", ""),
                "destination": mount["Destination"],
                "rw": mount.get("RW", True),
            }
            for mount in sorted(facts.get("Mounts") or [], key=lambda mount: str(mount["Destination"]))
        ],
        "networks": sorted((facts.get("NetworkSettings") or {}).get("Networks") or {}),
        "ports": host.get("PortBindings") or {},
        "restart_policy": host.get("RestartPolicy"),
    }
