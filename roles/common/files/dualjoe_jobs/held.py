"""Snapshots that no pruning touches: those from before a container shrank, until a person says that it is right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dualjoe.snapshot_warnings import Size

from .durable import sync_folder, write_json
from .job import JobFailed

NAME = "held.json"
_VERSION = 1


@dataclass(frozen=True)
class Held:
    """``until``: the name of the last snapshot before ('' where nothing is held). ``sizes``: what those containers had
    then that have shrunk since."""

    until: str = ""
    sizes: Mapping[str, Size] = field(default_factory=dict)

    @classmethod
    def load(cls, backups: Path) -> Held:
        """What is held. Raises JobFailed when that cannot be read: then nothing may be pruned."""
        try:
            raw = json.loads((backups / NAME).read_text("utf-8"))
            return cls(str(raw["until"]), {str(name): (int(has[0]), int(has[1])) for name, has in raw["sizes"].items()})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise JobFailed(f"{backups / NAME}: {error!r}; remove it, and look at the snapshots' sizes") from error

    def save(self, backups: Path) -> None:
        """Have it on the disk before the snapshot counts that it is about. Raises OSError."""
        if self.sizes:
            write_json(backups / NAME, {"version": _VERSION, **vars(self)})
        elif (backups / NAME).exists():
            (backups / NAME).unlink()
            sync_folder(backups)

    def spared(self, names: Iterable[str]) -> set[str]:
        """Of the snapshots' names those that stay."""
        return {name for name in names if name <= self.until}
